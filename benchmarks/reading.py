"""Reading: the peak memory and the seconds of preparing many rows, in each form of a file that is read.

python -m benchmarks.reading --rows 1000000            # every form, each in a process and a cache of its own
python -m benchmarks.reading --rows 1000000 --forms comma semicolon

A form is prepared as a run prepares it: checked, normalised, split. Anonymous memory (see `benchmarks.memory`) is
compared with that of a file of a hundredth of the rows: what a form adds is what it holds of its rows.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import described, now
from benchmarks.memory import Watch

WORDS = (
    *("the", "film", "was", "a", "long", "and", "quiet", "look", "at", "a", "town", "in", "the", "north"),
    *("where", "nobody", "speaks"),
)
TOPICS = ("film", "money", "sport")
Lines = Iterator[str]


def texts(rows: int) -> Iterator[tuple[int, str]]:
    """Yield so many texts of twelve words, no two alike."""
    for row in range(rows):
        yield row, " ".join(WORDS[(row * 7 + place) % len(WORDS)] for place in range(11)) + f" {row}"


def delimited(mark: str) -> Callable[[int], Lines]:
    def lines(rows: int) -> Lines:
        yield f"text{mark}label\n"
        for row, text in texts(rows):
            yield f"{text}{mark}{TOPICS[row % 3]}\n"

    return lines


def columns(rows: int) -> Lines:
    yield "text,film,money,sport\n"
    for row, text in texts(rows):
        yield f"{text},{int(row % 2 == 0)},{int(row % 3 == 0)},{int(row % 5 == 0)}\n"


def separated(rows: int) -> Lines:
    yield "text,labels\n"
    for row, text in texts(rows):
        yield f"{text},{TOPICS[row % 3]}|{TOPICS[(row + 1) % 3]}\n"


def listed(rows: int) -> Lines:
    yield "text,labels\n"
    for row, text in texts(rows):
        yield f"{text},\"['{TOPICS[row % 3]}']\"\n"


def sentences(rows: int) -> Lines:
    for _, text in texts(rows):
        yield "".join(f"{word}\t{'B-TOWN' if word == 'town' else 'O'}\n" for word in text.split()) + "\n"


def spans(rows: int) -> Lines:
    for _, text in texts(rows):
        start = text.find("town")
        yield json.dumps({"text": text, "labels": [[start, start + 4, "TOWN"]] if start >= 0 else []}) + "\n"


def fields(rows: int) -> Lines:
    for row, text in texts(rows):
        yield json.dumps({"doc": {"body": text}, "label": TOPICS[row % 3]}) + "\n"


# By name: the file, its lines, how they are encoded, the task, and what else the recipe says.
FORMS: dict[str, tuple[str, Callable[[int], Lines], str, str, dict[str, Any]]] = {
    "comma": ("rows.csv", delimited(","), "utf-8", "classification", {}),
    "semicolon": ("rows.csv", delimited(";"), "utf-8", "classification", {}),
    "tab": ("rows.tsv", delimited("\t"), "utf-8", "classification", {}),
    "bar": ("rows.csv", delimited("|"), "utf-8", "classification", {}),
    "UTF-16": ("rows.csv", delimited(","), "utf-16", "classification", {}),
    "cp1252": ("rows.csv", delimited(","), "cp1252", "classification", {"encoding": "cp1252"}),
    "gzip": ("rows.csv.gz", delimited(","), "utf-8", "classification", {}),
    "JSON lines, dotted": ("rows.jsonl", fields, "utf-8", "classification", {"text_columns": ["doc.body"]}),
    "a column a label": ("rows.csv", columns, "utf-8", "multi-label", {}),
    "names in one text": ("rows.csv", separated, "utf-8", "multi-label", {}),
    "lists as text": ("rows.csv", listed, "utf-8", "multi-label", {}),
    "CoNLL": ("rows.conll", sentences, "utf-8", "ner", {}),
    "entities by characters": ("rows.jsonl", spans, "utf-8", "ner", {}),
}


def write(folder: Path, form: str, rows: int) -> Path:
    """Write a file of a form."""
    name, lines, encoding, _, _ = FORMS[form]
    path = folder / name
    open_text: Any = gzip.open if name.endswith(".gz") else open
    with open_text(path, "wt", encoding=encoding, newline="") as file:
        file.writelines(lines(rows))
    return path


def prepare(form: str, path: str) -> None:
    """Prepare the rows in this process, and print its figures."""
    from distilnlp.data import DataConfig, prepare_data
    from distilnlp.tasks import task_named

    _, _, _, task, options = FORMS[form]
    watch, start = Watch(), now()
    data = prepare_data(DataConfig(source=path, **options), task_named(task).rows, None)
    seconds = now() - start
    rows = len(data.train) + len(data.test)
    print(json.dumps({"rows": rows, "seconds": seconds, **watch.stop()}))


def measured(form: str, rows: int) -> dict[str, float]:
    """Return the figures of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), form, rows)
        cache = {"HF_DATASETS_CACHE": f"{folder}/cache", "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "benchmarks.reading", "--one", form, "--path", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **cache})
        if done.returncode:
            raise SystemExit(f"{form}: {done.stderr[-2000:]}")
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return {**figures, "megabytes": path.stat().st_size / 1e6}


def main() -> None:
    """Measure the forms that are asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--one", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        prepare(options.one, options.path)
        return
    print(described())
    print("\n| form | file, MB | seconds | memory, MB | that of a hundredth of the rows |\n|---|---|---|---|---|")
    for form in options.forms:
        few, many = measured(form, options.rows // 100), measured(form, options.rows)
        assert many["rows"] == options.rows
        cells = [f"{many[name]:,.0f}" for name in ("megabytes", "seconds", "anonymous")]
        print(f"| {form} | {' | '.join(cells)} | {few['anonymous']:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
