"""The runtimes that read a student, each by an exporter of transformers, called experimental: their one place."""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import DistillationError, shortened
from distilnlp.export.graph import LOGITS, GraphModel, check_logits, sample
from distilnlp.models.running import in_eval_mode
from distilnlp.models.shapes import longest_readable
from distilnlp.serving import FP32
from distilnlp.signals import named_inputs
from distilnlp.tasks import Task

LAYER = re.compile(r"\blayers?\.(\d+)\b|\blayer_groups\.(\d+)\b")
SCOPES = "pkg.torch.onnx.name_scopes"
LAYER_KEY = "layer"  # what is kept of where a node comes from: other marks name files of this machine
MOST_ROWS = 32  # of a batch in ExecuTorch, which sets memory aside for the largest
QUIET = ("torch.onnx", "onnxscript", "onnx_ir", "transformers", "torch.utils._pytree", "executorch", "torchao", "root")


@dataclass(frozen=True)
class Runtime:
    """A runtime, and how a student gets there.

    Attributes:
        title: what people call it.
        file: in the folder of the student, alone in a folder of its own with what belongs to it.
        packages: that the export needs.
        extra: of this package, that brings them.
        write: `(model, inputs, file)`: exports a model that was given these inputs.
        open: `(file, inputs, threads)`: returns the graph as it is run there.
    """

    title: str
    file: str
    packages: tuple[str, ...]
    extra: str
    write: Callable[[PreTrainedModel, dict[str, Any], Path], None]
    open: Callable[[Path, list[str], int | None], Any]

    def check_packages(self) -> None:
        """Refuse to go on where a package is missing."""
        missing = [name for name in self.packages if find_spec(name) is None]
        if missing:
            raise DistillationError(
                f"an export to {self.title} needs the package {missing[0]}. Install it: pip install "
                f"'distilnlp[{self.extra}]'."
            )

    def load(self, file: Path, config: Any, names: list[str], threads: int | None = None) -> GraphModel:
        """Return a graph, called like the model that it was made of, which has this config and these inputs."""
        with quiet():
            return GraphModel(self.open(file, names, threads), names, config, file)


def export_graph(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, file: Path, runtime: Runtime
) -> GraphModel:
    """Write a model as a graph of any batch and length, and compare its logits with the model's.

    Args:
        model: in float32, on the CPU.
        tokenizer: says which inputs there are.
        task: of the model.
        file: to write; it is not there if anything fails.
        runtime: that reads it.

    Raises:
        DistillationError: the packages are missing, the model cannot be exported, or the graph gives other logits.
    """
    runtime.check_packages()
    names = inputs_of(model, tokenizer)
    try:
        with in_eval_mode(model), quiet():
            runtime.write(model, {**sample(names, task, 2, 11, model)}, file)
        graph = runtime.load(file, model.config, names)
        check_logits(model, graph, names, task)
    except DistillationError:
        file.unlink(missing_ok=True)
        raise
    except OSError:
        raise
    except Exception as error:  # what tracing and conversion raise has no common kind
        file.unlink(missing_ok=True)
        raise DistillationError(
            f"a {type(model).__name__} cannot be exported to {runtime.title}: {type(error).__name__}: "
            f"{shortened(str(error), 500)}. Serve its folder by torch, or distil into another architecture."
        ) from error
    return graph


def inputs_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return what a model reads of what its tokenizer gives."""
    return [name for name in tokenizer.model_input_names if name in named_inputs(model)]


# ---- ONNX Runtime ----


def _write_onnx(model: PreTrainedModel, inputs: dict[str, Any], file: Path) -> None:
    import onnx_ir
    from transformers.exporters.configs import OnnxConfig
    from transformers.exporters.exporter_onnx import OnnxExporter

    program = OnnxExporter().export(model, inputs, config=OnnxConfig(dynamic=True)).program
    for node in program.graph:
        found = LAYER.search(str(node.metadata_props.get(SCOPES, "")))
        node.metadata_props.clear()
        if found:
            node.metadata_props[LAYER_KEY] = next(filter(None, found.groups()))
    onnx_ir.save(program, str(file))


def _open_onnx(file: Path, names: list[str], threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    outputs = [value.name for value in session.get_outputs()]
    return lambda feed: dict(zip(outputs, session.run(None, feed), strict=True))


def layer_of(node: Any) -> str:
    """Return the layer of a node of a saved ONNX graph, by its number; an empty text for a node of none."""
    marks: Mapping[str, str] = {each.key: each.value for each in node.metadata_props}
    return marks.get(LAYER_KEY, "")


# ---- OpenVINO ----


def _write_openvino(model: PreTrainedModel, inputs: dict[str, Any], file: Path) -> None:
    import openvino
    from transformers.exporters.configs import OpenVINOConfig
    from transformers.exporters.exporter_openvino import OpenVINOExporter

    program = OpenVINOExporter().export(model, inputs, config=OpenVINOConfig(dynamic=True)).program
    openvino.save_model(program, str(file), compress_to_fp16=False)


def _open_openvino(file: Path, names: list[str], threads: int | None) -> Any:
    import openvino

    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16, where the processor has it
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(str(file), "CPU", options)
    return lambda feed: {port.any_name: value for port, value in compiled(dict(feed)).items()}


# ---- ExecuTorch ----


def _write_executorch(model: PreTrainedModel, inputs: dict[str, Any], file: Path) -> None:
    from torch.export import Dim
    from transformers.exporters.configs import ExecutorchConfig
    from transformers.exporters.exporter_executorch import ExecutorchExporter

    rank = next(iter(inputs.values())).dim()
    rows, length = Dim("rows", min=1, max=MOST_ROWS), Dim("length", min=2, max=longest_readable(model) or 512)
    axes = {0: rows, rank - 1: length} | ({1: Dim("choices", min=1, max=MOST_ROWS)} if rank > 2 else {})
    config = ExecutorchConfig(backend="xnnpack", dynamic=True, dynamic_shapes=dict.fromkeys(inputs, axes))
    program = ExecutorchExporter().export(model, inputs, config=config).program
    ExecutorchExporter.save_program(program, file)


def _open_executorch(file: Path, names: list[str], threads: int | None) -> Any:
    import torch
    from executorch.runtime import Runtime as Program

    method = Program.get().load_program(str(file)).load_method("forward")

    def run(feed: Mapping[str, Any]) -> dict[str, Any]:
        outputs = method.execute([torch.from_numpy(feed[name]) for name in names])
        given = LOGITS[:1] if len(outputs) == 1 else LOGITS[1:]
        return {name: output.numpy() for name, output in zip(given, outputs, strict=False)}

    return run


# ---- All of them ----

ONNX = Runtime("ONNX", FP32, ("onnx", "onnx_ir", "onnxscript", "onnxruntime"), "export", _write_onnx, _open_onnx)
OPENVINO = Runtime(
    "OpenVINO", "openvino/openvino_model.xml", ("openvino",), "openvino", _write_openvino, _open_openvino
)
EXECUTORCH = Runtime(
    "ExecuTorch", "executorch/model.pte", ("executorch",), "executorch", _write_executorch, _open_executorch
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporters print, log and warn of to themselves, in the block."""
    modules = ("exporter_dynamo", "exporter_onnx", "exporter_openvino", "exporter_executorch")
    exporters = [import_module(f"transformers.exporters.{name}").logger for name in modules]
    loggers: list[Any] = [*exporters, *map(logging.getLogger, QUIET)]
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
