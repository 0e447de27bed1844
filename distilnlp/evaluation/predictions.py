"""What models answered on the same rows, and the labels: kept on disk, so that every figure can be computed again."""

import json
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from distilnlp.errors import DistillationError

# The folder in that of a run, and in it what the models answered, and the rows as they read them, a JSON value a line.
PREDICTIONS, ANSWERS, ROWS = "predictions", "answers.safetensors", "rows.jsonl"
LABELS, LAYOUT, FORMAT = "labels", "layout", 1


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the columns of rows that a model reads, a line a row, in the order of their predictions."""
    with file.open("w", encoding="utf-8") as opened:
        for row in rows:
            own = {name: row[name] for name in columns if row.get(name) is not None}
            opened.write(json.dumps(own, ensure_ascii=False) + "\n")


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read what `write_rows` wrote."""
    with file.open(encoding="utf-8") as opened:
        return [json.loads(line) for line in opened]


@dataclass(frozen=True)
class Predictions:
    """What models answered, and the labels, as the `predict` and `read_labels` of a task's `Scoring` give them.

    Attributes:
        labels: of the rows.
        by_model: predictions of each model by its name, all in the label order of the first.
        labelled_by: the model whose answers the labels are, where no row has one; None = they are the rows' own.
    """

    labels: Any
    by_model: Mapping[str, Any]
    labelled_by: str | None = None

    def save(self, file: Path) -> None:
        """Write them as safetensors: arrays as they are, lists of arrays one after another, texts as JSON beside."""
        arrays: dict[str, NDArray] = {}
        layout = {"format": FORMAT, LABELS: _packed(self.labels, LABELS, arrays), "labelled_by": self.labelled_by}
        layout["models"] = [[name, _packed(own, name, arrays)] for name, own in self.by_model.items()]
        save_file(arrays, file, metadata={LAYOUT: json.dumps(layout, ensure_ascii=False)})

    @classmethod
    def load(cls, file: Path) -> "Predictions":
        """Read them.

        Raises:
            DistillationError: there are none, or they are damaged or of another version.
        """
        try:
            with safe_open(file, "numpy") as opened:
                layout = json.loads(opened.metadata()[LAYOUT])
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # no mapping
            if layout["format"] != FORMAT:
                raise DistillationError(f"{file} is of another version. Run the recipe again to write it anew.")
            by_model = {name: _unpacked(own, name, arrays) for name, own in layout["models"]}
            return cls(_unpacked(layout[LABELS], LABELS, arrays), by_model, layout.get("labelled_by"))
        except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
            if isinstance(error, DistillationError):
                raise
            raise DistillationError(
                f"expected the predictions of a run in {file}, but they cannot be read: {error}. Run its recipe again."
            ) from None


def _packed(value: Any, name: str, arrays: dict[str, NDArray]) -> Any:
    """Put what has numbers among the arrays, and return what else is needed to make the value of them again."""
    if isinstance(value, np.ndarray):
        arrays[name] = np.ascontiguousarray(value)
        return "array"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {field: _packed(getattr(value, field), f"{name}.{field}", arrays) for field in value._fields}
    if isinstance(value, tuple):
        return {"tuple": list(value)}
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
        arrays[name] = np.concatenate(value)
        arrays[f"{name}.lengths"] = np.array([len(row) for row in value])
        return "rows"
    if isinstance(value, list) and value and hasattr(value[0], "_fields"):
        columns = {field: [getattr(row, field) for row in value] for field in value[0]._fields}
        return {"each": {field: _packed(own, f"{name}.{field}", arrays) for field, own in columns.items()}}
    return {"json": value}


def _unpacked(layout: Any, name: str, arrays: Mapping[str, NDArray]) -> Any:
    if layout == "array":
        return arrays[name]
    if layout == "rows":
        return np.split(arrays[name], arrays[f"{name}.lengths"].cumsum()[:-1])
    if layout.keys() == {"json"}:
        return layout["json"]
    if layout.keys() == {"tuple"}:
        return tuple(layout["tuple"])
    fields = layout.get("each", layout)
    columns = [_unpacked(own, f"{name}.{field}", arrays) for field, own in fields.items()]
    row = namedtuple("row", fields)  # type: ignore[misc]  # its fields are those of the file
    return [row(*own) for own in zip(*columns, strict=True)] if "each" in layout else row(*columns)
