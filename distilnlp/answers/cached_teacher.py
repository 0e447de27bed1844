"""A teacher whose answers were written to disk: no model, no forward pass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distilnlp.answers.layout import as_signals, field_names, restore
from distilnlp.answers.row_keys import KEY_BYTES, dataset_keys, row_key
from distilnlp.answers.store import AnswerStore
from distilnlp.errors import DistillationError
from distilnlp.signals import LABEL_INPUTS, Batch, SignalRequest, Signals
from distilnlp.tasks import is_tokenised, task_named

ENTRY = "cached_"


class CachedTeacher:
    """Gives the signals that another teacher gave for the same rows, found by the content of each row.

    Args:
        folder: of a finished cache; see `CacheWriter`.
        verify: compare the checksum of every shard first.

    Raises:
        DistillationError: there is no finished cache, or a shard is damaged.
    """

    def __init__(self, folder: str | Path, verify: bool = True) -> None:
        self._store = AnswerStore(folder, verify)
        self.manifest = manifest = self._store.manifest
        self.profile, self.columns = manifest.profile, frozenset(manifest.columns)
        self._task = task_named(str(manifest.profile.task))
        self._fields = field_names(self._task, manifest.request)

    def __reduce__(self) -> tuple[type, tuple[str, bool]]:
        return CachedTeacher, (str(self._store.folder), False)  # a worker process maps the files itself

    def to(self, device: torch.device) -> None:
        """Do nothing: the answers come with the batches."""

    def check_rows(self, dataset: Any, split: str) -> None:
        """Refuse rows that the teacher was never asked about; a stream is looked at as it comes.

        Raises:
            DistillationError: some row is not in the cache.
        """
        if is_tokenised(dataset):
            absent = int((self._store.find(dataset_keys(dataset, self.manifest.columns)) < 0).sum())
            if absent:
                raise self._absent(f"{absent:,} of the {len(dataset):,} rows of the {split} data are")

    def look_up(self, rows: list[Mapping[str, Any]], batch: Batch) -> dict[str, Tensor]:
        """Return the kept fields of these rows, padded as the batch is."""
        keys = b"".join(row_key(row, self.manifest.columns) for row in rows)
        places = self._store.find(np.frombuffer(keys, dtype=np.uint8).reshape(-1, KEY_BYTES))
        if (places < 0).any():
            raise self._absent(f"{(places < 0).sum()} of {len(rows)} rows of a batch are")
        fields = self._store.read(places.tolist(), self._fields)
        if not self._task.draws_its_items:  # labels do not decide which logits there are
            batch = {name: value for name, value in batch.items() if name not in LABEL_INPUTS}
        padded = restore(self._task, batch, fields, self.profile, self.manifest.request, self.manifest.top_k)
        return {ENTRY + name: values for name, values in padded.items()}

    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the signals that `look_up` put into the batch.

        Raises:
            DistillationError: a signal is asked for that was not kept, or the batch was made without `look_up`.
        """
        kept = self.manifest.request
        if (kept | request) != kept:
            raise DistillationError(
                f"the losses need {_described(request)} of the teacher, but the cache {self._store.folder} holds "
                f"{_described(kept)} beside the logits. Write a cache with these losses, or set teacher_cache to off."
            )
        fields = {name: batch[ENTRY + name] for name in self._fields if ENTRY + name in batch}
        if len(fields) < len(self._fields):
            raise DistillationError(
                "the batch has no answers of the cached teacher. Collate its rows with DistillationCollator, as "
                "DistillationTrainer does."
            )
        return as_signals(self._task, batch, fields, self.profile, kept)

    def _absent(self, which: str) -> DistillationError:
        made_of = ", ".join(self.manifest.columns)
        return DistillationError(
            f"{which} not in the cache {self._store.folder}, which is found by the content of {made_of}: it was "
            "written for other rows, or their text, the tokenizer or max_length differs. Write a cache of these rows."
        )


def _described(request: SignalRequest) -> str:
    parts = {
        "hidden states": request.hidden_states,
        "attention maps": request.attentions,
        "queries, keys and values": request.qkv,
        "pre-activations": request.pre_activations,
    }
    named = [f"{name} of the layers {sorted(layers)}" for name, layers in parts.items() if layers]
    return " and ".join(named) or "nothing"
