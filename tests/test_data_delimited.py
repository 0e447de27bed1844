"""CSV and TSV: no row is shifted, padded or swallowed by another."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.data import load_source
from distilnlp.errors import DistillationError
from tests.test_data import write


def read(folder: Path, content: str, name: str = "rows.csv") -> dict[str, list[Any]]:
    return load_source(write(folder, name, content))["train"][:]


# ---- As many fields as the header has ----


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,x\nwell, good,x\n", r"line 3 .* has 3 fields, \['well', ' good', 'x'\], but the header has 2"),
        ("text,label\nwell, good,x\nso, bad,y\n", "line 2 .* has 3 fields"),  # pandas takes the texts for an index
        ("label,text\nx,well, good\ny,so, bad\n", "line 2 .* has 3 fields"),
        (
            "text,label\na,x,\nb,y\n",
            "line 3 .* has 2 fields, .*rows above have 3.*End every line with a comma, or none",
        ),
        ("text,label\na,x\nb,y,\n", "line 3 .* has 3 fields"),
        ("text,label\na,x\nonly a text\n", r"line 3 .* has 1 field, .*End a row that lacks a value with a comma"),
        ('text,label\n"two\nlines",x\n\na,b,c\n', "line 5 .* has 3 fields"),
    ],
)
def test_rows_of_another_number_of_fields_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        read(tmp_path, content)


def test_the_message_about_fields_quotes_no_whole_article(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"quotation marks\.$") as raised:
        read(tmp_path, f"text,label\n{'long ' * 999}, and,x\n")
    assert len(str(raised.value).replace(str(tmp_path), "")) < 300


@pytest.mark.parametrize(
    "content",
    [
        "text,label\na,x,\nb,y,\n",  # a comma at the end of every line
        "text,label\na,x,,\nb,y,,\n",
        "\ufefftext,label\r\na,x\r\n\r\n   \r\nb,y\r\n",
        'text,label\n"a","x"\n"b","y"\n',
        "text,label\ra,x\rb,y\r",
    ],
)
def test_what_separates_nothing_is_harmless(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == {"text": ["a", "b"], "label": ["x", "y"]}


def test_every_file_of_a_split_is_checked(tmp_path: Path) -> None:
    files = [write(tmp_path, "a.csv", "text,label\na,x\n"), write(tmp_path, "b.csv", "text,label\na, b,x\n")]
    with pytest.raises(DistillationError, match=r"line 2 of .*b\.csv has 3 fields"):
        load_source({"train": files})


def test_a_field_may_be_longer_than_a_block(tmp_path: Path) -> None:
    text = "a,\n" + "b, " * (4 << 20)
    rows = read(tmp_path, f'text,label\n"{text}",x\nb,y\n')
    assert [len(row) for row in rows["text"]] == [len(text), 1]


def test_folders_of_folders_are_checked_too(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", "train.csv", "text,label\nNA, so,x\nb, d,y\n")
    with pytest.raises(DistillationError, match=r"line 2 of .*train\.csv has 3 fields"):
        load_source(str(tmp_path))
    write(tmp_path / "data", "train.csv", "text,label\nNA,x\n")
    assert load_source(str(tmp_path))["train"]["text"] == ["NA"]


# ---- Quotation marks ----


@pytest.mark.parametrize(
    "texts", [['"a', "b", '"c', "d"], ['"a', "b", "c", "d"], ['"', "b", '"', "d"], ['"a" b', '"c"']]
)
def test_quotation_marks_in_tsv_are_text(tmp_path: Path, texts: list[str]) -> None:
    content = "text\tlabel\n" + "".join(f"{text}\tx\n" for text in texts)
    assert read(tmp_path, content, "rows.tsv")["text"] == texts


@pytest.mark.parametrize(
    ("rows", "texts"),
    [
        ('"a ""b"""\tx\n"c"\tx\n', ['a "b"', "c"]),
        ('"a\tb"\tx\nc\tx\n', ["a\tb", "c"]),
        ('"a\nb"\tx\nc\tx\n', ["a\nb", "c"]),
        ("a\tx\nb\tx\n", ["a", "b"]),
    ],
)
def test_tsv_that_is_quoted_throughout_is_read_so(tmp_path: Path, rows: str, texts: list[str]) -> None:
    assert read(tmp_path, f"text\tlabel\n{rows}", "rows.tsv")["text"] == texts


def test_a_tab_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"line 3 .* has 3 fields, .*Put a space for a tab"):
        read(tmp_path, 'text\tlabel\n"a\tx\nb\tc\tx\n', "rows.tsv")


@pytest.mark.parametrize("rows", ['"a,x\nb,y\n"c,x\n', 'd "e" f,x\n"a,x\nb,y\n"c,x\n'])
def test_marks_in_csv_that_swallow_rows_are_refused(tmp_path: Path, rows: str) -> None:
    first = 2 + rows.startswith("d")
    with pytest.raises(
        DistillationError, match=rf"in line {first} of .* swallows what follows it, up to line {first + 2}"
    ):
        read(tmp_path, "text,label\n" + rows)


def test_a_mark_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"swallows|EOF inside string"):
        read(tmp_path, 'text,label\na,x\nb,"c\nd,x\n')


def test_rows_of_several_lines_are_counted_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(tmp_path, 'text,label\n"a\nb",x\n"c\n\nd",x\ne,x\n')
    assert "5 lines below the header make 3 rows" in caplog.text
    caplog.clear()
    read(tmp_path, 'text,label\n"a",x\n\n"c",x\n')
    assert "lines" not in caplog.text
