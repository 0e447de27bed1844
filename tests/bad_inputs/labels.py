"""Labels of single texts: order, names, gaps, kinds, classes without rows."""

from collections.abc import Sequence
from typing import Any

from tests.bad_inputs.case import Case, file, lines, table

FRESH = {"teacher.model": "@bare", "teacher.finetune": True}


def column(name: str, labels: Sequence[Any], message: str = "", rows: int | None = None, **options: Any) -> Case:
    """JSON lines of 30 rows whose labels take turns."""
    content = lines(*({"text": f"the film {i} was", "label": labels[i % len(labels)]} for i in range(30)))
    return file(f"labels: {name}", content, message, rows, source="data.jsonl", **options)


def words(name: str, labels: Sequence[str], message: str = "", rows: int | None = None, **options: Any) -> Case:
    """A CSV file of 30 rows whose labels take turns."""
    return file(f"labels: {name}", table(30, labels=labels), message, rows, **options)


TWO = {"teacher.model": "@two"}
CASES = [
    words("one that the teacher lacks", ("film", "money", "opera"), r"opera.*film.*money.*sport"),
    words("none that the teacher has", ("a", "b", "c"), r"a.*film"),
    words("in capitals", ("Film", "Money", "Sport"), "case"),
    words("in both cases, to be learned", ("positive", "Positive"), "case|positive.*Positive", 30, keys=FRESH),
    words("with blanks around them", (" film", "money ", "sport"), " film", or_read=30),
    words("with and without blanks", (" film", "film", "money", "sport"), " film", or_read=30),
    words(
        "with and without blanks, to be learned", (" film", "film", "money"), "blank|space|trim|white", 30, keys=FRESH
    ),
    words("in another alphabet", ("фильм", "деньги", "спорт"), "фильм"),
    words("of one class alone", ("film",), "class|film", 30),
    words("of one class alone, to be learned", ("film",), "two labels", keys=FRESH),
    words("with one row of a class", ("film",) * 15 + ("money",) * 14 + ("sport",), "hold out|class"),
    words("all different, to be learned", [f"label {index}" for index in range(30)], "hold out|class", keys=FRESH),
    file(
        "labels: 3,000 that the teacher lacks", table(3000, labels=[f"name {index}" for index in range(3000)]), "name 1"
    ),
    words("empty", ("",), "no row has a label", 30),
    words("empty, to be learned", ("",), "label", keys=FRESH),
    words("two in a cell", ("film|money", "sport", "money"), r"film\|money"),
    words("fewer than the teacher's", ("film", "money"), "", 30),
    words("some empty", ("film", "", "money", "sport"), "", 30),
    words("the marks of missing values", ("NA", "None", "nan"), "NA|None|nan"),
    column("ids out of range", (0, 1, 7), r"7.*film"),
    column("negative ids", (-1, 0, 1), "-1"),
    column("ids from 1", (1, 2, 3), r"3.*film"),
    column("ids from 1, to be learned", (1, 2, 3, 4, 5), "1.*5|gap", or_read=30, keys=FRESH),
    column("ids with a gap, to be learned", (0, 4), "0.*4|gap", or_read=30, keys=FRESH),
    column("-1, 0 and 1, to be learned", (-1, 0, 1), "-1.*1|gap", or_read=30, keys=FRESH),
    column("whole numbers as fractions", (0.0, 1.0, 2.0), "", 30),
    column("fractions", (0.5, 1.5, 2.5), r"0\.5"),
    column("fractions, to be learned", (0.5, 1.5, 2.5), r"0\.5|regression", keys=FRESH),
    column("infinite", (0.0, 1.0, 1e999), "label|inf|cannot read"),
    column("true and false", (True, False), "true|bool", keys=TWO),
    column("lists", ([0], [1]), "label.*list|one label a row"),
    column("objects", ({"name": "film"}, {"name": "money"}), "label"),
    column("null alone", (None,), "no row has a label", 30),
    column("null alone, to be learned", (None,), "label", keys=FRESH),
    column("-100 alone", (-100,), "no row has a label", 30),
    column("ids as text", ("0", "1", "2"), "'0'|id|film"),
    column(
        "ids of another order, by their names", (0, 1, 2), "", 30, keys={"data.label_names": "[sport, money, film]"}
    ),
    column("names for fewer ids", (0, 1, 2), "label_names", keys={"data.label_names": "[film, money]"}),
    column("names for more ids", (0, 1, 2), "label_names", keys={"data.label_names": "[film, money, sport, x]"}),
    column("names that the teacher lacks", (0, 1, 2), "opera", keys={"data.label_names": "[film, money, opera]"}),
    column("huge numbers", (2**62, 1), str(2**62)),
    column("stars against numbers", ("1", "2", "3", "4"), "star", keys={"teacher.model": "@stars"}),
    column("numbers against numbers from 1", (0, 1, 2), "position|name", keys={"teacher.model": "@digits"}),
    words("names against placeholders", ("film", "money"), "placeholders", keys={"teacher.model": "@placeholders"}),
    file("labels: a column that is not there", table(), "Did you mean 'label'", keys={"data.label_column": "labl"}),
    file("labels: the text column", table(), "text|the film", keys={"data.label_column": "text"}),
    file("labels: the label column as text", table(), "label", keys={"data.text_columns": "label"}),
    file("labels: names for what has names", table(), "label_names|opera", keys={"data.label_names": "[opera, a, b]"}),
    file("texts: a column that is not there", table(), "Did you mean 'text'", keys={"data.text_columns": "txt"}),
    file(
        "texts: a pair of which one is not there",
        table(),
        "hypothesis",
        keys={"data.text_columns": "[text, hypothesis]"},
    ),
]
