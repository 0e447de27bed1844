"""Files of data: refused with the row and the fix, or read right."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from tests.bad_inputs.case import TOPICS, Case, Content, file, lines, table

ROWS = [{"text": f"the film {index} was a match", "label": TOPICS[index % 3]} for index in range(24)]


def commas(where: range, header: str = "text,label", label_first: bool = False) -> str:
    """60 rows, some of whose texts hold a comma that no quotes protect."""
    texts = [f"well{',' if index in where else ''} the film {index} was good" for index in range(60)]
    pairs = [(text, TOPICS[index % 3]) for index, text in enumerate(texts)]
    return "\n".join([header, *(",".join(pair[::-1] if label_first else pair) for pair in pairs)]) + "\n"


def quotes(*where: int, sep: str = "\t") -> str:
    """60 rows, some of whose texts begin with a quote that is never closed."""
    rows = [
        f"{chr(34) if index in where else ''}the film {index} was good{sep}{TOPICS[index % 3]}" for index in range(60)
    ]
    return "\n".join([f"text{sep}label", *rows]) + "\n"


def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS)


def parquet(rows: Any = None) -> Content:
    content = pa.Table.from_pylist(ROWS) if rows is None else rows
    return lambda path: pq.write_table(content, path)


def flipped(place: float) -> Content:
    """A Parquet file with bytes turned over at some place of it, 0 to 1."""

    def write(path: Path) -> None:
        pq.write_table(pa.Table.from_pylist(ROWS), path, compression="NONE")
        content = bytearray(path.read_bytes())
        start = int(place * len(content))
        content[start : start + 8] = bytes(byte ^ 0xFF for byte in content[start : start + 8])
        path.write_bytes(bytes(content))

    return write


def cut(make: Content) -> Content:
    def write(path: Path) -> None:
        assert callable(make)
        make(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return write


def saved(*broken: str) -> Content:
    """A folder of `Dataset.save_to_disk`, with some of its files emptied."""

    def write(path: Path) -> None:
        Dataset.from_list(ROWS).save_to_disk(str(path))
        for name in broken:
            next(path.glob(name)).write_bytes(b"")

    return write


def json_rows(name: str, message: str, changed: Any, row: int = 5) -> Case:
    """JSON lines, one row of which is another."""
    rows = [*ROWS[:row], changed, *ROWS[row + 1 :]]
    return file(f"JSON lines: {name}", lines(*rows), message, source="data.jsonl")


ROW = "(row|line)"
FIELDS = "(?=.*(row|line)).*(field|column|comma|quote)"
CASES = [
    # ---- CSV: commas, quotes, columns ----
    file("CSV: commas without quotes in 16 texts", commas(range(20, 36)), FIELDS),
    file("CSV: commas without quotes in all texts", commas(range(60)), FIELDS),
    file("CSV: commas without quotes in the first text", commas(range(1)), FIELDS),
    file("CSV: commas without quotes in the last text", commas(range(59, 60)), FIELDS),
    file(
        "CSV: commas without quotes in texts after labels",
        commas(range(60), "label,text", label_first=True),
        FIELDS,
    ),
    file("CSV: a comma at the end of every line", table().replace("\n", ",\n"), rows=24),
    file("CSV: a comma at the end of every row", table().replace("\n", ",\n").replace("label,", "label", 1), rows=24),
    file("CSV: rows that are too short", table() + "the film\n" * 3, ROW, or_read=27),
    file("CSV: a quote that is never closed", quotes(3, sep=","), f"{ROW}|quote"),
    file("CSV: quotes that close in another row", quotes(3, 30, sep=","), f"{ROW}|quote"),
    file("CSV: an empty file", "", "empty|at least one row|no rows"),
    file("CSV: blank lines", "\n\n\n", "empty|row|column"),
    file("CSV: a header alone", "text,label\n", "no .*rows|empty|at least one row"),
    file("CSV: one row", table(1), "row|label|class"),
    file("CSV: two rows", table(2), "hold out|rows"),
    file("CSV: no header", table(header="the match was fine,film"), "no header: its first line.*data.column_names"),
    file("CSV: a comment before the header", "# exported 2024\n" + table(), "line 1 of .*is a comment"),
    file("CSV: the header twice", "text,label\n" + table(), "label"),
    file("CSV: the header again between files", table(12) + table(12), "'label'|header"),
    file("CSV: a column twice", table(header="text,text"), "twice|text|label"),
    file(
        "CSV: the label column twice",
        table(header="text,label,label").replace("\n", ",film\n").replace("label,film", "label"),
        "label.*(twice|two|more than once)|twice",
    ),
    file("CSV: columns without names", table(header=","), "column|header|name"),
    file("CSV: a header in capitals", table(header="Text,Label"), rows=24),
    file("CSV: blanks in the header", table(header="text , label"), rows=24),
    file("CSV: no column of labels", table(header="text,topic"), "label_column|label"),
    file(
        "CSV: no column of text", "\n".join(["number,label", *(f"{index},film" for index in range(24))]), "text column"
    ),
    file("CSV: two columns of text", table(header="title,body,label").replace(" film", " film,a"), "text_columns"),
    file("CSV: semicolons", table(sep=";"), rows=24),
    file("CSV: bars", table(sep="|"), rows=24),
    file("CSV: tabs", table(sep="\t"), rows=24),
    file("CSV: blanks in place of commas", table(sep=" "), "column|label"),
    file("CSV: lines that end as in Windows", table().replace("\n", "\r\n"), rows=24),
    file("CSV: lines that end as on an old Mac", table().replace("\n", "\r"), rows=24),
    file("CSV: no line break at the end", table().rstrip("\n"), rows=24),
    file("CSV: blank lines between rows", table().replace("\n", "\n\n"), rows=24),
    file("CSV: an index of pandas", lambda path: frame().to_csv(path), rows=24),
    file(
        "CSV: an index of text of pandas",
        lambda path: frame().set_index("text", drop=False).rename_axis(None).to_csv(path),
        rows=24,
    ),
    file("CSV: a byte order mark", b"\xef\xbb\xbf" + table().encode(), rows=24),
    file("CSV: UTF-16", table().encode("utf-16"), rows=24),
    file("CSV: cp1252", table().replace("film", "Fünf–film").encode("cp1252"), "is not UTF-8.*data.encoding"),
    file("CSV: bytes of nothing", bytes(range(256)) * 8, "cannot read|UTF-8|encoding"),
    file("CSV: NUL in a text", table().replace("film 7", "film \0 7"), "nul|row|cannot read", or_read=24),
    file("CSV: a picture", b"\x89PNG\r\n\x1a\n" + bytes(200), "cannot read|UTF-8|encoding|column"),
    file("CSV: HTML", "<!DOCTYPE html><html><body>404</body></html>\n", "row|column|header"),
    file(
        "CSV: compressed, as its name says",
        gzip.compress(table().encode()),
        rows=24,
        source="data.csv.gz",
    ),
    file("CSV: compressed, against its name", gzip.compress(table().encode()), rows=24),
    file(
        "CSV: cut while compressed", gzip.compress(table().encode())[:90], r"data\.csv\.gz|\.gz", source="data.csv.gz"
    ),
    file(
        "CSV: texts that are all blank",
        table().replace("the film", " ").replace("was a match", "").replace(" ", ""),
        "text|row",
        keys={"data.text_columns": "text", "data.label_column": "labels"},
    ),
    file("CSV: empty cells in place of texts", "text,label\n" + ",film\n" * 12, "text|empty|row"),
    file("CSV: numbers in place of texts", "text,label\n" + "".join(f"{index},film\n" for index in range(12)), "text"),
    file("CSV: one long line", "text,label\n" + "a " * 200_000 + ",film\n", "label|class|row"),
    file("CSV: a text of 20,000 words", table() + "film " * 20_000 + ",film\n", rows=25),
    # ---- TSV ----
    file("TSV: one quote that is never closed", quotes(7), rows=60, source="data.tsv"),
    file("TSV: two quotes that are never closed", quotes(7, 37), rows=60, source="data.tsv"),
    file("TSV: commas in place of tabs", table(), rows=24, source="data.tsv"),
    file("TSV: a tab too many in a row", table(sep="\t").replace("film 5", "film\t5"), ROW, source="data.tsv"),
    # ---- JSON ----
    file("JSON lines: an empty file", "", "empty|row", source="data.jsonl"),
    file("JSON lines: empty objects", "{}\n" * 12, "column|row", source="data.jsonl"),
    file("JSON lines: null alone", "null\n" * 12, "row|null|object", source="data.jsonl"),
    file("JSON lines: numbers", "1\n2\n3\n", "row|object|cannot read", source="data.jsonl"),
    file("JSON lines: lists", '["the film", "film"]\n' * 12, "row|object|cannot read", source="data.jsonl"),
    file("JSON lines: text", "the film was good\n" * 12, "cannot read|JSON", source="data.jsonl"),
    file("JSON lines: a row cut off", lines(*ROWS)[:-20], "cannot read|row|line", source="data.jsonl"),
    file(
        "JSON lines: a comma after each row",
        lines(*ROWS).replace("}\n", "},\n"),
        "cannot read|row|line|JSON",
        source="data.jsonl",
    ),
    file("JSON lines: single quotes", "".join(f"{row}\n" for row in ROWS), "cannot read|JSON", source="data.jsonl"),
    file("JSON lines: two objects in a line", lines(*ROWS).replace("}\n{", "}{"), "", rows=24, source="data.jsonl"),
    file(
        "JSON lines: NaN for a label",
        lines(*ROWS).replace('"film"}', "NaN}"),
        "label|type|cannot read|NaN",
        source="data.jsonl",
    ),
    file("JSON lines: UTF-16", lines(*ROWS).encode("utf-16"), rows=24, source="data.jsonl"),
    file(
        "JSON lines: Latin-1",
        '{"text": "Fünf", "label": "film"}\n'.encode("latin-1") * 9,
        "encoding|UTF-?8|cannot read",
        source="data.jsonl",
    ),
    file("JSON lines: a byte order mark", b"\xef\xbb\xbf" + lines(*ROWS).encode(), rows=24, source="data.jsonl"),
    file(
        "JSON lines: nested 2,000 deep",
        "[" * 2000 + "]" * 2000 + "\n",
        "cannot read|deep|nest|row",
        source="data.jsonl",
    ),
    json_rows("a number for a text", "'text'.*row 5|row 5.*'text'", {"text": 7, "label": "film"}),
    json_rows("a number for a label", "'label'.*row 5|row 5.*'label'", {"text": "a film", "label": 7}),
    json_rows("a list for a text", "text.*row 5|row 5.*text", {"text": ["a", "film"], "label": "film"}),
    json_rows("an object for a text", "text.*row 5|row 5.*text", {"text": {"en": "a film"}, "label": "film"}),
    json_rows("true for a label", "'label'.*row 5|row 5.*'label'", {"text": "a film", "label": True}),
    json_rows("a list for a row", "row|line|cannot read", ["a film", "film"]),
    json_rows("a word for a row", "row|line|cannot read", "film"),
    file("JSON: a list of rows", json.dumps(ROWS), rows=24, source="data.json"),
    file(
        "JSON: pandas' columns",
        lambda path: frame().to_json(path),
        rows=24,
        source="data.json",
    ),
    file(
        "JSON: pandas' split",
        lambda path: frame().to_json(path, orient="split"),
        rows=24,
        source="data.json",
    ),
    file(
        "JSON: pandas' columns, many",
        lambda path: pd.concat([frame()] * 40, ignore_index=True).to_json(path),
        rows=960,
        source="data.json",
    ),
    file("JSON: a list of words", '["film", "match"]', "no row has a label", 2, source="data.json"),
    file("JSON: nothing but {}", "{}", "column|row|cannot read", source="data.json"),
    file("JSON: rows below a key", json.dumps({"data": ROWS}), rows=24, source="data.json"),
    # ---- Parquet, text, saved data sets ----
    file("Parquet: an empty file", b"", "cannot read|empty", source="data.parquet"),
    file("Parquet: text", table(), "cannot read", source="data.parquet"),
    file("Parquet: cut in half", cut(parquet()), "cannot read", source="data.parquet"),
    file("Parquet: bytes turned over in a page", flipped(0.05), "cannot read|damaged", source="data.parquet"),
    file("Parquet: bytes turned over in its end", flipped(0.9), "cannot read|damaged", source="data.parquet"),
    file(
        "Parquet: no rows",
        parquet(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})),
        "no .*rows|empty|at least one",
        source="data.parquet",
    ),
    file("Parquet: no columns", parquet(pa.table({})), "column|row|cannot read", source="data.parquet"),
    file(
        "Parquet: texts as bytes",
        parquet(pa.table({"text": [b"a film"] * 9, "label": ["film"] * 9})),
        "text",
        source="data.parquet",
    ),
    file(
        "Parquet: dates for labels",
        parquet(pa.table({"text": ["a"] * 9, "label": pa.array(range(9), pa.date32())})),
        "label",
        source="data.parquet",
    ),
    file(
        "Parquet: an index of text",
        lambda path: frame().set_index(pd.Index([f"row {i}" for i in range(24)])).to_parquet(path),
        rows=24,
        source="data.parquet",
    ),
    file(
        "text: a file without labels that must have some",
        "the film\n" * 12,
        "label",
        source="data.txt",
        keys={"teacher.finetune": True, "teacher.model": "@bare"},
    ),
    file("saved: without its state", saved("state.json"), "saved", source="saved"),
    file("saved: without its description", saved("dataset_info.json"), "saved", source="saved"),
    file("saved: without its rows", saved("data-*.arrow"), "saved", source="saved"),
]
