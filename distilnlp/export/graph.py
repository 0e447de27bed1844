"""A student as a graph: called like the model that it was made of, and compared with it before it is kept."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.evaluation.size import ModelSize
from distilnlp.models.running import in_eval_mode
from distilnlp.models.shapes import longest_readable
from distilnlp.signals import TOKENS
from distilnlp.tasks import Task

TOLERANCE = 1e-4  # of logits, against those of torch
LOGITS = ("logits", "start_logits", "end_logits")  # what a head may give them as
CHOICES = 3  # of a row that has several texts
Run = Callable[[Mapping[str, NDArray]], dict[str, NDArray]]  # from inputs to outputs, by their names


class GraphModel(nn.Module):
    """A graph that is called like the model it was made of, so that it is measured like one.

    Args:
        run: the graph in its runtime.
        inputs: names of what it reads.
        config: of the model.
        path: of its file.

    Attributes:
        size: parameters of the model and bytes of the graph, where it is measured.
    """

    size: ModelSize | None = None

    def __init__(self, run: Run, inputs: list[str], config: Any, path: Path) -> None:
        super().__init__()
        self.run, self.inputs, self.config, self.path = run, inputs, config, path
        self.device = torch.device("cpu")

    @property
    def bytes(self) -> int:
        """Of its file, and of what lies beside it by the same name."""
        return sum(part.stat().st_size for part in self.path.parent.glob(f"{self.path.stem}.*"))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        **_: Any,
    ) -> SimpleNamespace:
        """Return the outputs by their names; what the graph has no input for is left out."""
        given = {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids) if attention_mask is None else attention_mask,
            "token_type_ids": torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids,
        }
        outputs = self.run({name: given[name].long().cpu().numpy() for name in self.inputs})
        return SimpleNamespace(**{name: torch.from_numpy(own) for name, own in outputs.items()})


def check_logits(model: PreTrainedModel, graph: GraphModel, names: list[str], task: Task) -> None:
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
                f"the graph {graph.path.name} gives logits that are up to {apart:.3g} from those of torch, on {rows} "
                f"texts of {length} tokens, but {TOLERANCE} is what rounding explains. Serve the folder by torch, and "
                "report it."
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
