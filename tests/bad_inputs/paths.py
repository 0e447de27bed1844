"""Where data is said to lie: folders, paths, functions, splits."""

import os

from tests.bad_inputs.case import Case, Content, lines, read, refused, table
from tests.bad_inputs.files import ROWS


def folder(name: str, message: str | None, rows: int | None = None, **files: Content) -> Case:
    """A folder `data` with these files."""
    own = {f"data/{path.replace('_dot_', '.')}": content for path, content in files.items()}
    keys = {"data.source": "data"}
    if rows is None:
        return refused(f"folder: {name}", message or "", keys, files=own)
    return read(f"folder: {name}", rows, keys, files=own, message=message or "")


CASES = [
    folder("nothing in it", "folder|data", _dot_keep=""),
    folder("nothing that is data", "folder|data", **{"notes_dot_md": "# Notes\n", "run_dot_sh": "true\n"}),
    folder(
        "train in two forms",
        r"train\.(csv|jsonl).*train\.(csv|jsonl)",
        train_dot_csv=table(),
        train_dot_jsonl=lines(*ROWS),
    ),
    folder("valid for validation", None, rows=36, train_dot_csv=table(), valid_dot_csv=table(12)),
    folder("no train", "train", reviews_dot_csv=table(), test_dot_csv=table(12)),
    folder(
        "splits of other columns", "text|column", train_dot_csv=table(), test_dot_csv=table(12, header="body,label")
    ),
    folder("a test split without labels", None, rows=24, train_dot_csv=table(), test_dot_csv="text\n" + "a film\n" * 6),
    folder("a damaged test split", "test", train_dot_csv=table(), test_dot_csv=bytes(range(256))),
    refused("path: a misspelt file", r"no file.*Did you mean 'train\.csv'", {"data.source": "tran.csv"}),
    refused("path: no such folder", "there is no file", {"data.source": "./nowhere"}),
    refused("path: an unknown ending", r"\.xls", {"data.source": "rows.xls"}, files={"rows.xls": b"PK\x03\x04"}),
    refused("path: no ending", "endings", {"data.source": "./rows"}, files={"rows": table()}),
    refused("path: a file of endings alone", "rows|file", {"data.source": ".csv"}, files={".csv": ""}),
    refused(
        "path: a link to nothing",
        "no file",
        {"data.source": "link.csv"},
        files={"link.csv": lambda path: path.symlink_to("nowhere.csv")},
    ),
    refused(
        "path: a link to itself",
        "link|loop|no file",
        {"data.source": "loop.csv"},
        files={"loop.csv": lambda path: path.symlink_to("loop.csv")},
    ),
    refused("path: a pipe", "pipe.csv", {"data.source": "pipe.csv"}, files={"pipe.csv": lambda path: os.mkfifo(path)}),
    refused("path: a device", "/dev/zero|ending", {"data.source": "/dev/zero"}),
    refused(
        "path: a folder called like a file",
        "rows.csv",
        {"data.source": "rows.csv"},
        files={"rows.csv": lambda path: path.mkdir()},
    ),
    read("path: a name with brackets", 24, {"data.source": "part[1].csv"}, files={"part[1].csv": table()}),
    read("path: a name with a star", 24, {"data.source": "all*.csv"}, files={"all*.csv": table()}),
    read(
        "path: a name with blanks and accents",
        24,
        {"data.source": "mes données.csv"},
        files={"mes données.csv": table()},
    ),
    read("path: a name with a colon", 24, {"data.source": "12:30.csv"}, files={"12:30.csv": table()}),
    read("path: an ending in capitals", 24, {"data.source": "ROWS.CSV"}, files={"ROWS.CSV": table()}),
    refused(
        "path: a function that is not there",
        "no function.*Did you mean 'load'",
        {"data.source": "rows.py:laod"},
        files={"rows.py": "def load():\n    return 3\n"},
    ),
    refused(
        "path: a function that gives a number",
        "must give a datasets",
        {"data.source": "rows.py:load"},
        files={"rows.py": "def load():\n    return 3\n"},
    ),
    refused(
        "path: a function that fails",
        "failed.*of its own",
        {"data.source": "rows.py:load"},
        files={"rows.py": "def load():\n    raise KeyError('of its own')\n"},
    ),
    refused(
        "path: a module that cannot be read",
        "rows.py",
        {"data.source": "rows.py:load"},
        files={"rows.py": "def load(:\n"},
    ),
    refused("path: a module that is not there", "cannot import", {"data.source": "no_such_module:load"}),
    refused("path: a function without a module", "expected package.module", {"data.source": ":load"}),
    refused(
        "path: a module without a function",
        "expected package.module|expected one name or path",
        {"data.source": "rows.py:"},
    ),
    refused(
        "splits: a file that is not there",
        "Did you mean 'train.csv'",
        {"data.source": "{train: train.csv, test: tran.csv}"},
    ),
    refused("splits: an unknown one", "Did you mean 'test'", {"data.source": "{train: train.csv, tset: train.csv}"}),
    refused("splits: no train", "no split 'train'", {"data.source": "{test: train.csv}"}),
    refused("splits: a list in a list", "expected one name or path", {"data.source": "{train: [[train.csv]]}"}),
    refused(
        "splits: files of two kinds",
        "endings",
        {"data.source": "{train: [train.csv, b.jsonl]}"},
        files={"b.jsonl": lines(*ROWS)},
    ),
    refused("splits: one that is tested on and trained on", "both 'train'", {"data.test_split": "train"}),
    refused("splits: a validation that is not there", "no split 'dev'", {"data.validation_split": "dev"}),
    refused("splits: a train that is not there", "no split 'training'", {"data.train_split": "training"}),
    refused(
        "splits: a test without labels",
        "labels",
        {"data.source": "{train: train.csv, test: t.csv}"},
        files={"t.csv": "text\na film\n"},
    ),
    read(
        "splits: the test rows are training rows",
        48,
        {"data.source": "{train: train.csv, test: train.csv}"},
        message="24 of 24 test texts",
    ),
    refused("a configuration of a file", "data.config", {"data.config": "sst2"}),
    refused("unlabelled: not there", "no file", {"data.unlabelled": "[more.txt]"}),
    refused("unlabelled: empty", "more.txt", {"data.unlabelled": "[more.txt]"}, files={"more.txt": ""}),
    refused(
        "unlabelled: other columns",
        "must have the text columns",
        {"data.unlabelled": "[more.csv]"},
        files={"more.csv": "title,body\na,b\n"},
    ),
    read("a Hub data set that is not here", None, {"data.source": "nobody/nothing"}, plan="NOT CHECKED"),
]
