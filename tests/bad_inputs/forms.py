"""Labels, words and questions in forms that tools and people write: read where they are clear, refused where not."""

import json
from typing import Any

import pandas as pd

from tests.bad_inputs.case import TOPICS, Case, Content, lines, read, refused

TEXT = "the film {} was"


def form(
    name: str, task: str, content: Content, message: str, rows: int = 0, source: str = "data.csv", **keys: Any
) -> Case:
    """A file for a task whose teacher is yet to be trained: read as so many rows, or refused with a message."""
    own = {"task": task, "teacher.model": "@bare", "teacher.finetune": True, "data.source": source}
    own |= {key.replace("__", "."): value for key, value in keys.items()}
    files = {source: content}
    if rows:
        return read(f"forms: {name}", rows, own, files=files, message=message)
    return refused(f"forms: {name}", message, own, files=files)


def table(header: str, *cells: str) -> str:
    """30 rows of a text and these cells, which take turns."""
    return header + "\n" + "".join(f"{TEXT.format(i)},{cells[i % len(cells)]}\n" for i in range(30))


def each(*rows: Any) -> str:
    """30 JSON lines, which take turns; `{}` in a text is the number of the row."""
    return lines(*(json.loads(json.dumps(rows[i % len(rows)]).replace("{}", str(i))) for i in range(30)))


def indexed() -> pd.DataFrame:
    """30 labelled rows whose index is text."""
    columns = {"text": [TEXT.format(i) for i in range(30)], "label": [TOPICS[i % 3] for i in range(30)]}
    return pd.DataFrame(columns, index=[f"row number {i}" for i in range(30)])


def spans(*own: Any) -> str:
    return each({"text": "Ada lives in Paris {}.", "labels": list(own)})


MULTI, WORDS, QA, CHOICE = "multi-label", "ner", "qa", "multiple_choice"
SENTENCE = "Ada\tB-PER\nlives\tO\nin\tO\nParis\tB-LOC\n\n"
CASES = [
    # ---- Delimiters ----
    *(
        form(
            f"the delimiter {mark}",
            "classification",
            table("text,label", *TOPICS).replace(",", mark),
            "",
            30,
            data__delimiter=mark,
        )
        for mark in "|;,%&!>@:#"
    ),
    # ---- Several labels a row ----
    form("one column of 0 and 1 a label", MULTI, table("text,toxic,insult", "1,0", "1,1", "0,0"), "read as labels", 30),
    form("one column of 0 and 1 alone", MULTI, table("text,toxic", "1", "0"), "no split has the label column"),
    form("names between bars", MULTI, table("text,labels", "toxic|insult", "insult"), r"separated by '\|'", 30),
    form("names between commas", MULTI, table("text,labels", '"toxic, insult"', "insult"), "separated by ','", 30),
    form("two separators", MULTI, table("text,labels", '"a, b|c"', "c"), "not clear what separates.*label_separator"),
    form("two separators, one named", MULTI, table("text,labels", '"a, b|c"', "c"), "", 30, data__label_separator="|"),
    form(
        "a separator for a task of one label",
        "classification",
        table("text,label", *TOPICS),
        "label_separator means nothing",
        data__label_separator="|",
    ),
    form("lists as text", MULTI, table("text,labels", "\"['toxic', 'insult']\"", "[]"), "written as text", 30),
    form("lists as NumPy writes them", MULTI, table("text,labels", "\"['toxic' 'insult']\"", "['a']"), "NumPy"),
    form(
        "an object of 0 and 1", MULTI, each({"text": TEXT, "labels": {"toxic": 1, "insult": 0}}), "", 30, "data.jsonl"
    ),
    # ---- Words ----
    form("CoNLL of two columns", WORDS, SENTENCE * 30, "30 sentences of 120 words", 30, "data.txt"),
    form(
        "CoNLL of four columns",
        WORDS,
        "-DOCSTART- -X- -X- O\n\n" + "Ada NNP B-NP I-PER\nis VBZ B-VP O\n\n" * 30,
        "",
        30,
        "a.conll",
    ),
    form("BMES", WORDS, "Ada B-PER\nLove E-PER\nin O\nRome S-LOC\n\n" * 30, "", 30, "a.conll"),
    form("a line too wide", WORDS, SENTENCE * 9 + "Ada\tB-PER\tx\n", "line 46 of .* has 3 fields", 0, "a.conll"),
    form("tags of two schemes", WORDS, "Ada B-PER\nin L-PER\nRome M-LOC\nso O\n\n" * 30, "two schemes", 0, "a.conll"),
    form("entities by characters", WORDS, spans([13, 18, "LOC"], [0, 3, "PER"]), "by the characters", 30, "data.jsonl"),
    form("entities that cut words", WORDS, spans([13, 17, "LOC"]), "row 0.*within the word 'Paris'", 0, "data.jsonl"),
    form(
        "entities with texts for numbers",
        WORDS,
        spans({"start": "0", "end": "3", "label": "A"}),
        "whole numbers",
        0,
        "data.jsonl",
    ),
    form("CoNLL without a sentence", WORDS, "\n\n", "has no sentence", 0, "a.conll"),
    form("entities outside", WORDS, spans([13, 99, "LOC"]), "not in the text", 0, "data.jsonl"),
    form("entities that overlap", WORDS, spans([0, 9, "A"], [4, 9, "B"]), "overlaps another", 0, "data.jsonl"),
    # ---- Questions and choices ----
    form(
        "an answer in columns of its own",
        QA,
        "question,context,answer_text,answer_start\n" + "".join(f"what {i},the film {i},film,4\n" for i in range(30)),
        "",
        30,
        data__stride=8,
    ),
    form(
        "questions without an answer",
        QA,
        each(
            {"question": "q {}", "context": "the film", "answers": {"text": ["film"], "answer_start": [4]}},
            {"question": "q {}", "context": "the film", "answers": {"text": [], "answer_start": []}},
        ),
        "15 questions have no answer",
        30,
        "data.jsonl",
        data__stride=8,
    ),
    form(
        "starts counted from 1",
        QA,
        each({"question": "q {}", "context": "the film", "answers": {"text": ["film"], "answer_start": [5]}}),
        "fits if characters are counted from 1",
        0,
        "data.jsonl",
        data__stride=8,
    ),
    form(
        "choices in lettered columns",
        CHOICE,
        "question,A,B,C,D,answer\n" + "".join(f"what is {i},a,film,was,good,{'ABCD'[i % 4]}\n" for i in range(30)),
        "",
        30,
    ),
    form(
        "an answer that is a place and a text",
        CHOICE,
        "question,A,B,answer\n" + "".join(f"what is {i},B,A,A\n" for i in range(30)),
        "may be a place or the text of a choice",
    ),
    # ---- No label at all ----
    Case(
        "forms: texts and no label anywhere",
        "no row has a label",
        {"data.source": "texts.txt"},
        files={"texts.txt": "".join(f"{TEXT.format(i)}\n" for i in range(30))},
        status=0,
        rows=30,
    ),
    # ---- An index of pandas that is text ----
    form(
        "an index of text",
        "classification",
        lambda path: indexed().to_csv(path),
        "",
        30,
    ),
    form(
        "an index of text in Parquet",
        "classification",
        lambda path: indexed().to_parquet(path),
        "",
        30,
        "data.parquet",
    ),
]
