"""Recipes as text: what YAML reads, what it must not, and what must not reach the disk."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from distilnlp.errors import DistillationError
from distilnlp.recipe.text import check_texts, read_yaml, recipe_values, write_yaml

TOKEN = "hf_" + "aB3" * 11
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghij", "bcdefghijk", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-3", -3),
        ("010", 10),
        ("2024-13-45", "2024-13-45"),
        ("'1:30'", "1:30"),
        ("~", None),
        ("", None),
        ("{on: 1, 1: 2, null: 3}", {"on": 1, "1": 2, "null": 3}),
        ("[{a: &x {b: 1, c: 2}}, {<<: *x, c: 3}]", [{"a": {"b": 1, "c": 2}}, {"b": 1, "c": 3}]),
    ],
)
def test_yaml_says_what_was_meant(text: str, value: Any) -> None:
    assert read_yaml(text, "it") == value


TRAPS = ["1e3", "1e-5", ".5", "1.", "010", "0x1f", "1_000", "1:30", "2024-01-01", "no", "off", "y", "true", "null"]
TRAPS += ["~", "", " ", "<<", "=", ".inf", ".nan", "-", "a: b", "a #b", "#", "@x", "&x", "*x", "!x", "%", "|", "on"]
TRAPS += ["two\nlines", "ä\n\u2028b", "a long text " * 20, " x ", "'", '"', "[a]", "{a: b}"]
NUMBERS = [1e-5, 1e16, 3.0, -0.0, 10**20, -3, True, False, None, float("inf")]


def test_what_is_written_reads_back_as_it_was() -> None:
    values = {"texts": TRAPS, "numbers": NUMBERS, "keys": dict.fromkeys(TRAPS, "x"), "none": [], "nothing": {}}
    back = read_yaml(write_yaml(values), "it")
    assert repr(back) == repr(values)  # tells 3 from 3.0 and from true
    assert all(type(value) is str for value in yaml.safe_load(write_yaml(TRAPS)))  # other readers, too


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}", "line 3, column 3: the key 'c' is given twice"),
        ("a:\n  b: 1:30", "line 2, column 6: '1:30' is a number to the base 60"),
        ("a: 12:30:45.5", "base 60"),
        ("a: !!int abc", "line 1, column 4: 'abc' is not of type int"),
        ("a: !!bool maybe", "'maybe' is not of type bool"),
        ("a: !!timestamp 2024-13-45", "timestamp"),
        ("a: !!binary aGk=", "binary"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: " + "1" * 5000, "is not of type int"),
        ("? [a]\n: b", "a key must be a text"),
        ("a: &a [*a]", "in itself"),
        ("a: " + "[" * 1000 + "]" * 1000, "nested too deeply"),
        ("a: *b", "undefined alias"),
        ("a: [", "line 1"),
        ("\0", "not allowed"),
        ("--- a\n--- b", "single document"),
        (BOMB, "aliases stand for more than"),
        ("a: " + "x" * 2_000_000, "2,000,003 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_what_yaml_would_misread_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DistillationError, match=f"^recipe.*{message}") as caught:
        read_yaml(text, "recipe")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "values",
    [
        {"training": {"hub_token": "anything"}},
        {"teacher": {"finetune": {"hub_token": "anything"}}},
        {"data": {"label_names": ["a", TOKEN]}},
        {"teacher": {"model": "https://me:secret1@huggingface.co/x/y"}},
        {"data": {"source": "https://host/x.csv?X-Amz-Signature=secret1"}},
        {"training": {"lr_scheduler_kwargs": {"api_key": "secret1"}}},
        {TOKEN: 1},
    ],
)
def test_tokens_and_passwords_are_refused_and_not_shown(values: Any) -> None:
    with pytest.raises(DistillationError, match="HF_TOKEN") as caught:
        check_texts(values)
    assert not any(secret in str(caught.value) for secret in ("anything", TOKEN, "secret1"))


def test_what_only_looks_like_a_secret_is_taken() -> None:
    check_texts({"training": {"include_num_input_tokens_seen": "all"}, "data": {"text_columns": ["tokens", "hf_text"]}})


@pytest.mark.parametrize(("value", "message"), [("a\0b", "NUL"), ("\udc80", "not UTF-8"), ("x" * 5000, "5,000 char")])
def test_texts_that_no_file_can_have_are_refused(value: str, message: str) -> None:
    with pytest.raises(DistillationError, match=rf"teacher\.model.*{message}"):
        check_texts({"teacher": {"model": value}})


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"source": "~nobody-of-this-name/x.csv"}},
        {"data": {"source": {"train": ["~nobody-of-this-name/x.csv"]}}},
        {"data": {"unlabelled": ["x" * 256]}},
        {"teacher": {"model": "ä" * 128}},
        {"student": "~nobody-of-this-name/x"},  # of `distilnlp evaluate`
    ],
)
def test_paths_that_no_file_system_takes_are_refused_by_their_key(values: Any) -> None:
    with pytest.raises(DistillationError, match=r"^(data|teacher|student).*Check (the path|it)"):
        check_texts(values)
    check_texts({"data": {"label_names": ["~none", "x" * 300]}})


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~nobody-of-this-name/recipe.yaml", "no user"),
        ("x" * 300, "cannot be read|no recipe"),
        ("a\0b", "cannot be read|no recipe"),
        (".", "no recipe"),
    ],
)
def test_paths_that_cannot_be_are_refused(path: str, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        recipe_values(path, {})


def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(b"a: \xff")
    with pytest.raises(DistillationError, match="UTF-8"):
        recipe_values(file, {})
    file.write_bytes(b"\xef\xbb\xbfoutput: out")  # as Windows writes it
    assert recipe_values(file, {}) == {"output": "out"}
    file.write_text("x" * 5_000_000)
    with pytest.raises(DistillationError, match="bytes") as caught:
        recipe_values(file, {})
    assert len(str(caught.value)) < 300
