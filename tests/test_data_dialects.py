"""Tables as programs write them: what is unambiguous is read, else the key is named that decides."""

import bz2
import gzip
import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from distilnlp.data import DataConfig, load_source, prepare_data
from distilnlp.data.plain_copies import FileForm
from distilnlp.errors import DistillationError
from distilnlp.tasks import REGRESSION, SINGLE_LABEL_CLASSIFICATION
from tests.test_data import write

ROWS = {"text": ["a film, good", "a match"], "label": ["x", "y"]}
UMLAUTS = "text,label\nFünf Filme,x\nÄpfel,y\n"


def read(path: str | Path, **form: Any) -> dict[str, list[Any]]:
    return load_source(str(path), form=FileForm(**form))["train"][:]


def read_bytes(folder: Path, name: str, content: bytes, **form: Any) -> dict[str, list[Any]]:
    (folder / name).write_bytes(content)
    return read(folder / name, **form)


# ---- What separates fields ----


@pytest.mark.parametrize(
    ("name", "separator", "said"),
    [
        ("rows.csv", ";", "semicolons"),
        ("rows.csv", "|", "vertical bars"),
        ("rows.csv", "\t", "tabs"),
        ("rows.tsv", ";", "semicolons"),
    ],
)
def test_the_delimiter_is_told_from_the_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, separator: str, said: str
) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    content = f"text{separator}label\na film, good{separator}x\na match{separator}y\n"
    assert read(write(tmp_path, name, content)) == ROWS
    assert f"rows{name[-4:]}: fields are separated by {said}" in caplog.text


def test_nothing_is_said_of_what_is_usual(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    read(write(tmp_path, "rows.csv", "text,label\na;b,x\nc;d,y\n"))
    read(write(tmp_path, "rows.tsv", "text\tlabel\na,b\tx\nc,d\ty\n"))
    read(write(tmp_path, "texts.csv", "text\na\nb\n"))
    assert "separated" not in caplog.text


def test_two_delimiters_that_both_fit_need_the_key(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "id;text,label\n1;a,x\n2;b,y\n")
    with pytest.raises(
        DistillationError, match=r"separated by commas or by semicolons.*Set data\.delimiter to ',' or ';'"
    ):
        read(path)
    assert read(path, delimiter=";") == {"id": [1, 2], "text,label": ["a,x", "b,y"]}
    assert read(path, delimiter=",") == {"id;text": ["1;a", "2;b"], "label": ["x", "y"]}


@pytest.mark.parametrize("given", ["tab", "\\t", "\t"])
def test_a_tab_has_several_spellings(given: str) -> None:
    assert DataConfig(source="d", delimiter=given).file_form.delimiter == "\t"
    with pytest.raises(ValueError, match="one character, or tab"):
        DataConfig(source="d", delimiter="ab")


def test_a_row_that_does_not_fit_is_told_with_the_delimiter_in_use(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "text;label\na;x\nb; c;y\n")
    with pytest.raises(DistillationError, match=r"line 3 .* has 3 fields.*holds a semicolon in quotation marks"):
        read(path)


def test_the_files_of_a_split_are_written_alike(tmp_path: Path) -> None:
    files = [write(tmp_path, "a.csv", "text,label\na,x\n"), write(tmp_path, "b.csv", "text;label\nb;x\n")]
    with pytest.raises(DistillationError, match=r"separates fields by commas, and another of them by semicolons"):
        load_source({"train": files})


def test_decimal_commas_are_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    path = write(tmp_path, "rows.csv", "text;label\nso, so;3,5\ngood;4\nbad;-0,25\n")
    assert read(path) == {"text": ["so, so", "good", "bad"], "label": [3.5, 4.0, -0.25]}
    assert "the decimal mark is a comma" in caplog.text
    data = prepare_data(DataConfig(source={"train": path, "test": path}), REGRESSION.rows, None)
    assert data.train["label"] == [3.5, 4.0, -0.25]
    # Texts that happen to be written so are texts.
    assert read(write(tmp_path, "texts.csv", "text;label\n1,5 km;x\n2,5;y\n"))["text"] == ["1,5 km", "2,5"]


# ---- The header ----


def test_a_comment_before_the_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"line 1 of .*'# exported 2024', is a comment.*2 fields.*Remove"):
        read(write(tmp_path, "rows.csv", "# exported 2024\ntext,label\na,x\n"))
    assert read(write(tmp_path, "tags.csv", "#tag\n#a\n#b\n")) == {"#tag": ["#a", "#b"]}


def test_a_file_without_header_is_recognised_and_its_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", "a film,good\na match,bad\na plot,good\n")
    with pytest.raises(DistillationError, match=r"no header: its first line, \['a film', 'good'\].*data\.column_names"):
        read(path)
    expected = {"text": ["a film", "a match", "a plot"], "label": ["good", "bad", "good"]}
    assert read(path, column_names=("text", "label")) == expected
    with pytest.raises(DistillationError, match=r"line 1 of .* has 2 fields.*header has 1"):
        read(path, column_names=("text",))
    with pytest.raises(DistillationError, match="seems to have no header"):
        read(write(tmp_path, "long.csv", f"{'long ' * 50},good\na,bad\n"))


def test_a_header_whose_name_is_a_value_below_is_one_if_another_name_is_usual(tmp_path: Path) -> None:
    assert read(write(tmp_path, "rows.csv", "text,film\na,film\nb,match\n"))["film"] == ["film", "match"]


def test_names_of_columns_are_compared_without_case_and_outer_blanks(tmp_path: Path) -> None:
    path = write(tmp_path, "rows.csv", " Text,LABEL ,other\na film,x,1\na match,y,2\n")
    config = DataConfig(source={"train": path, "test": path})
    data = prepare_data(config, SINGLE_LABEL_CLASSIFICATION.rows, None)
    assert data.train["text"] == ["a film", "a match"]
    named = config.model_copy(update={"text_columns": ["text"], "label_column": "Label"})
    assert prepare_data(named, SINGLE_LABEL_CLASSIFICATION.rows, None).label_names == ["x", "y"]


def test_an_index_that_pandas_wrote_is_no_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"body": ["a film", "a match"], "label": ["x", "y"]}, index=["first", "second"])
    frame.to_csv(tmp_path / "rows.csv")
    frame.to_parquet(tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        source = str(tmp_path / name)
        data = prepare_data(
            DataConfig(source={"train": source, "test": source}), SINGLE_LABEL_CLASSIFICATION.rows, None
        )
        assert data.train["text"] == ["a film", "a match"]


# ---- Encodings ----


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.txt"])
def test_a_byte_order_mark_decides(tmp_path: Path, encoding: str, name: str) -> None:
    contents = {
        "rows.csv": UMLAUTS,
        "rows.jsonl": '{"text": "Fünf Filme"}\n{"text": "Äpfel"}\n',
        "rows.txt": "Fünf Filme\nÄpfel\n",
    }
    assert read_bytes(tmp_path, name, contents[name].encode(encoding))["text"] == ["Fünf Filme", "Äpfel"]


def test_other_encodings_need_the_key(tmp_path: Path) -> None:
    content = UMLAUTS.encode("cp1252")
    with pytest.raises(DistillationError, match=r"rows\.csv is not UTF-8: .*byte 12 .*data\.encoding, such as cp1252"):
        read_bytes(tmp_path, "rows.csv", content)
    assert read_bytes(tmp_path, "rows.csv", content, encoding="cp1252")["text"] == ["Fünf Filme", "Äpfel"]
    with pytest.raises(DistillationError, match=r"data\.encoding must be the name of an encoding.*'cp9999'"):
        read(tmp_path / "rows.csv", encoding="cp9999")
    with pytest.raises(DistillationError, match=r"rows\.csv is not ASCII"):
        read(tmp_path / "rows.csv", encoding="ascii")


def test_a_character_may_lie_on_the_border_of_two_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilnlp.data.plain_copies.BLOCK", 7)
    for encoding in ("utf-16", "utf-32"):
        name = f"{encoding}.csv"
        assert read_bytes(tmp_path, name, UMLAUTS.encode(encoding))["text"] == ["Fünf Filme", "Äpfel"]


# ---- Compressed files and spreadsheets ----


def zipped(*names: str) -> bytes:
    with zipfile.ZipFile(buffer := BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, UMLAUTS)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv.gz", gzip.compress(UMLAUTS.encode())),
        ("rows.csv.bz2", bz2.compress(UMLAUTS.encode())),
        ("rows.csv.zst", pa.Codec("zstd").compress(UMLAUTS.encode(), asbytes=True)),
        ("rows.csv.zip", zipped("rows.csv")),
        ("rows.jsonl.gz", gzip.compress('{"text": "Fünf Filme"}\n{"text": "Äpfel"}\n'.encode())),
        ("rows.csv.gz", gzip.compress(UMLAUTS.encode("utf-16"))),
        ("rows.csv.gz", gzip.compress(UMLAUTS.replace(",", ";").encode())),
    ],
    ids=["gzip", "bzip2", "zstd", "zip", "JSON lines", "UTF-16", "semicolons"],
)
def test_compressed_files_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_bytes(tmp_path, name, content)["text"] == ["Fünf Filme", "Äpfel"]


def test_a_compressed_parquet_file_is_read(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "rows.parquet")
    assert read_bytes(tmp_path, "r.parquet.gz", gzip.compress((tmp_path / "rows.parquet").read_bytes())) == ROWS


def test_what_cannot_be_decompressed_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"cannot decompress .*rows\.csv\.gz.*Make or download it anew"):
        read_bytes(tmp_path, "rows.csv.gz", gzip.compress(UMLAUTS.encode() * 99)[:60])
    with pytest.raises(DistillationError, match=r"must hold one file, but it holds 2: \['a\.csv', 'b\.csv'\]"):
        read_bytes(tmp_path, "rows.csv.zip", zipped("a.csv", "b.csv"))
    with pytest.raises(DistillationError, match=rf"line 3 of {tmp_path}/bad\.csv\.gz has 3 fields"):
        read_bytes(tmp_path, "bad.csv.gz", gzip.compress(b"text,label\na,x\nb,c,y\n"))


def test_a_changed_file_is_copied_anew(tmp_path: Path) -> None:
    assert read_bytes(tmp_path, "rows.csv.gz", gzip.compress(UMLAUTS.encode()))["label"] == ["x", "y"]
    changed = gzip.compress(UMLAUTS.replace("x", "z1").encode())
    assert read_bytes(tmp_path, "rows.csv.gz", changed)["label"] == ["z1", "y"]


def test_spreadsheets_are_read(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="openpyxl (the extra `excel`) is not installed")
    frame = pd.DataFrame(ROWS)
    frame.to_excel(tmp_path / "rows.xlsx", index=False)
    assert read(tmp_path / "rows.xlsx") == ROWS
    with pd.ExcelWriter(tmp_path / "two.xlsx") as writer:
        frame.to_excel(writer, sheet_name="first", index=False)
        frame.to_excel(writer, sheet_name="second", index=False)
    with pytest.raises(DistillationError, match=r"one sheet with rows, but it has 2: \['first', 'second'\]"):
        read(tmp_path / "two.xlsx")
    with pytest.raises(DistillationError, match=r"cannot read the spreadsheet"):
        read_bytes(tmp_path, "bad.xlsx", b"no spreadsheet")


# ---- JSON ----


@pytest.mark.parametrize("orient", ["columns", "index", "split", "records", "table"])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_form_of_pandas_json_is_read(tmp_path: Path, orient: Any, indent: int | None) -> None:
    pd.DataFrame(ROWS).to_json(tmp_path / "rows.json", orient=orient, indent=indent)
    loaded = read(tmp_path / "rows.json")
    assert {name: loaded[name] for name in ROWS} == ROWS


def test_rows_below_one_key_are_read_and_squad_is_left_to_its_task(tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(*ROWS.values(), strict=True)]
    assert read(write(tmp_path, "rows.json", json.dumps({"version": 1, "data": rows}))) == ROWS
    squad = {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": []}]}]}
    assert set(read(write(tmp_path, "squad.json", json.dumps(squad)))) == {"version", "data"}
    assert read(write(tmp_path, "one.json", '{"text": "a film", "label": "x"}')) == {"text": ["a film"], "label": ["x"]}


def test_fields_of_objects_are_named_by_dotted_paths(tmp_path: Path) -> None:
    rows = [
        {"doc": {"body": text, "more": {"note": "n"}}, "annotation": {"label": label}}
        for text, label in zip(*ROWS.values(), strict=True)
    ]
    path = write(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    config = DataConfig(
        source={"train": path, "test": path},
        text_columns=["doc.body", "doc.more.note"],
        label_column="annotation.label",
        unlabelled=[path],
    )
    data = prepare_data(config, SINGLE_LABEL_CLASSIFICATION.rows, None)
    assert data.train["text"] == ROWS["text"] * 2
    assert data.train["text_pair"] == ["n"] * 4
    assert data.label_names == ["x", "y"]
    wrong = config.model_copy(update={"text_columns": ["doc.bdy"]})
    with pytest.raises(DistillationError, match=r"names the column 'doc\.bdy'|text column"):
        prepare_data(wrong, SINGLE_LABEL_CLASSIFICATION.rows, None)
