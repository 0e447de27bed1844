"""A model as an ONNX graph, by the exporter of transformers, which is called experimental: this is its one place."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError, shortened
from distilnlp.models.running import in_eval_mode
from distilnlp.models.shapes import longest_readable
from distilnlp.signals import TOKENS, named_inputs
from distilnlp.tasks import Task

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of logits, against those of torch
LAYER = re.compile(r"\blayers?\.(\d+)\b|\blayer_groups\.(\d+)\b")
SCOPES = "pkg.torch.onnx.name_scopes"
LOGITS = ("logits", "start_logits", "end_logits")  # what a head may give them as
CHOICES = 3  # of a row that has several texts
LAYER_KEY = "layer"  # what is kept of where a node comes from: other marks name files of this machine
EXTRA = "pip install 'distilnlp[export]'"


class SessionModel(nn.Module):
    """A graph in ONNX Runtime that is called like the model it was made of, so that it is measured like one.

    Args:
        path: of the graph.
        config: of the model.
        threads: of ONNX Runtime; None = as it sees fit.
    """

    def __init__(self, path: Path, config: Any, threads: int | None = None) -> None:
        super().__init__()
        runtime = _imported("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.config, self.device = config, torch.device("cpu")
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.names = [value.name for value in self.session.get_outputs()]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> SimpleNamespace:
        """Return the outputs by their names; what the graph has no input for is left out."""
        zeros = torch.zeros_like(input_ids)
        given = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids) if attention_mask is None else attention_mask,
            "token_type_ids": zeros if token_type_ids is None else token_type_ids,
        }
        outputs = self.session.run(None, {name: given[name].long().cpu().numpy() for name in self.inputs})
        return SimpleNamespace(**dict(zip(self.names, map(torch.from_numpy, outputs), strict=True)))


def export_graph(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, path: Path) -> None:
    """Write a model as an ONNX graph of any batch and length, and compare its logits with the model's.

    Args:
        model: in float32, on the CPU.
        tokenizer: says which inputs there are.
        task: of the model.
        path: of the file; it is not there if anything fails.

    Raises:
        DistillationError: the packages are missing, the model cannot be exported, or the graph gives other logits.
    """
    _imported("onnx")
    _imported("onnxscript")
    from transformers.exporters.configs import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    names = [name for name in tokenizer.model_input_names if name in named_inputs(model)]
    try:
        with in_eval_mode(model), _quiet():
            inputs: dict[str, Any] = {**sample(names, task, 2, 11, model)}
            program = OnnxExporter().export(model, inputs, config=OnnxConfig(dynamic=True)).program
            _mark_layers(program)
            import onnx_ir

            onnx_ir.save(program, str(path))
        check_logits(model, SessionModel(path, model.config), names, task)
    except DistillationError:
        path.unlink(missing_ok=True)
        raise
    except Exception as error:  # what tracing and conversion raise has no common kind
        path.unlink(missing_ok=True)
        raise DistillationError(
            f"a {type(model).__name__} cannot be exported to ONNX: {type(error).__name__}: "
            f"{shortened(str(error), 500)}. Serve its folder by torch, or distil into another architecture."
        ) from error


def check_logits(model: PreTrainedModel, graph: SessionModel, names: list[str], task: Task) -> None:
    """Refuse a graph that does not give a model's logits, on random ragged batches of several sizes."""
    longest = min(longest_readable(model) or 64, 64)
    for rows, length in ((1, 4), (3, 17), (2, longest)):
        batch = sample(names, task, rows, length, model)
        with in_eval_mode(model), torch.no_grad():
            expected = model(**batch)
        found = {name: own for name, own in vars(graph(**batch)).items() if name in LOGITS}
        apart = max(_apart(expected[name], own, batch) for name, own in found.items())
        if not apart <= TOLERANCE:
            raise DistillationError(
                f"the ONNX graph gives logits that are up to {apart:.3g} from those of torch, on {rows} texts of "
                f"{length} tokens, but {TOLERANCE} is what rounding explains. Serve the folder by torch, and report it."
            )


def _apart(expected: Tensor, own: Tensor, batch: Mapping[str, Tensor]) -> float:
    """Return the largest difference of two outputs; what padding gives does not count."""
    mask = batch[TOKENS.mask].bool()
    if own.shape[: mask.dim()] == mask.shape:
        expected, own = expected[mask], own[mask]
    return float((expected - own).abs().max())


def sample(names: list[str], task: Task, rows: int, length: int, model: PreTrainedModel) -> dict[str, Tensor]:
    """Return a batch of random tokens, the texts of different lengths but for the first."""
    generator = torch.Generator().manual_seed(length)
    shape = (rows, *([CHOICES] if len(task.row_shape(length)) > 1 else []), length)
    vocabulary = int(model.config.vocab_size)
    ids = torch.randint(min(5, vocabulary - 1), vocabulary, shape, generator=generator)
    lengths = torch.randint(2, length + 1, shape[:-1], generator=generator)
    lengths.view(-1)[0] = length
    mask = torch.arange(length) < lengths.unsqueeze(-1)
    padding = model.config.pad_token_id or 0
    given = {"input_ids": ids.where(mask, padding), "attention_mask": mask.long()}
    return {name: given.get(name, torch.zeros_like(ids)) for name in names}


def layer_of(node: Any) -> str:
    """Return the layer of a node of a saved graph, by its number; an empty text for a node of none."""
    marks: Mapping[str, str] = {each.key: each.value for each in node.metadata_props}
    return marks.get(LAYER_KEY, "")


def _mark_layers(program: Any) -> None:
    """Keep of each node the number of its layer alone."""
    for node in program.graph:
        found = LAYER.search(str(node.metadata_props.get(SCOPES, "")))
        node.metadata_props.clear()
        if found:
            node.metadata_props[LAYER_KEY] = next(filter(None, found.groups()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporters print, log and warn of to themselves, in the block."""
    from transformers.exporters import exporter_dynamo, exporter_onnx

    names = ("torch.onnx", "onnxscript", "onnx_ir", "transformers")
    loggers: list[Any] = [exporter_dynamo.logger, exporter_onnx.logger, *map(logging.getLogger, names)]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def _imported(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise DistillationError(f"an export needs the package {name}. Install it: {EXTRA}.") from error
