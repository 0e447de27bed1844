"""Output folders and caches that cannot be, or are not this run's."""

import json
from typing import Any

from tests.bad_inputs.case import Case, Content, refused


def output(name: str, message: str, output: str = "out", /, **files: Content) -> Case:
    own = {path.replace("__", "/").replace("_dot_", "."): content for path, content in files.items()}
    return refused(f"output: {name}", message, {"output": output}, files=own)


def cache(name: str, message: str, kept: Any, /, **files: Content) -> Case:
    own = {path.replace("__", "/").replace("_dot_", "."): content for path, content in files.items()}
    return refused(f"teacher_cache: {name}", message, {"training.teacher_cache": kept}, files=own)


def link(target: str) -> Any:
    return lambda path: path.symlink_to(target)


OTHER = "output: out\nteacher: {model: another}\ndata: {source: other.csv}\n"
CASES = [
    output("a file", "out is a file", out="text"),
    output("below a file", "is a file", "train.csv/out"),
    output("a link to nothing", "out.*link", out=link("nowhere")),
    output("a link to itself", "output.*(loop|link|symbolic)", out=link("out")),
    output("links in a circle", "output.*(loop|link|symbolic)", "a/out", a=link("b"), b=link("a")),
    output("a link to a file", "out is a file|is a file", out=link("train.csv")),
    output("a device", "output|writ", "/dev/null"),
    output("of another program", "no run of distilnlp wrote", out__thesis_dot_tex="precious"),
    output("with a hidden file of another program", "no run of distilnlp wrote", out___dot_env="SECRET=1"),
    output(
        "of a run, with a file of another program",
        "no run of.*thesis",
        out__recipe_dot_yaml=OTHER,
        out__thesis_dot_tex="x",
    ),
    output("of another run", "holds another run|no run of distilnlp wrote", out__recipe_dot_yaml=OTHER),
    output("with a damaged recipe", "holds another run|no run of distilnlp wrote", out__recipe_dot_yaml="output: ["),
    output(
        "with a recipe that is no text",
        "holds another run|no run of distilnlp wrote",
        out__recipe_dot_yaml=bytes(range(256)),
    ),
    output("with a recipe that is a folder", "no run of|another run", out__recipe_dot_yaml=lambda path: path.mkdir()),
    output("the folder of the command", "must not hold what the run reads", "."),
    output("the folder above", "must not hold what the run reads", ".."),
    output("the root", "output|must not hold", "/"),
    output("with a name of 300 characters", "output must be a path", "o" * 300),
    refused(
        "output: around the teacher",
        "must not hold what the run reads",
        {"teacher.model": "./out/teacher"},
        files={"out/teacher/config.json": "{}"},
    ),
    refused(
        "output: around the data",
        "must not hold what the run reads",
        {"data.source": "out/train.csv"},
        files={"out/train.csv": "text,label\n"},
    ),
    refused(
        "output: around the data, through a link",
        "must not hold what the run reads",
        {"data.source": "here/train.csv"},
        files={"out/train.csv": "text,label\n", "here": link("out")},
    ),
    refused(
        "output: around the transfer set",
        "must not hold what the run reads",
        {"data.unlabelled": "out/more.txt"},
        files={"out/more.txt": "a\n"},
    ),
    refused(
        "output: around the student",
        "must not hold what the run reads",
        {"student.model": "./out/small"},
        files={"out/small/config.json": "{}"},
    ),
    refused(
        "output: the teacher itself",
        "must not hold what the run reads",
        {"output": "model", "teacher.model": "./model"},
        files={"model/config.json": "{}"},
    ),
    cache("in the output folder", "must be a folder outside of the output", "out/answers"),
    cache("the output folder", "must be a folder outside of the output", "out"),
    cache("a file", "cache", "train.csv"),
    cache("below a file", "cache", "train.csv/answers"),
    cache("a link to nothing", "cache", "kept", kept=link("nowhere/at/all")),
    cache("a link to itself", "cache", "kept", kept=link("kept")),
    cache("of another program", "cache", "kept", kept__thesis_dot_tex="precious"),
    cache("a manifest that is damaged", "cache|manifest", "kept", kept__manifest_dot_json="{"),
    cache(
        "a manifest of another program",
        "cache|manifest",
        "kept",
        kept__manifest_dot_json=json.dumps({"name": "app"}),
    ),
    cache("a manifest that is a list", "cache|manifest", "kept", kept__manifest_dot_json="[]"),
    cache("NUL in its name", "cache", '"a\\0b"'),
    cache("a name of 300 characters", "cache", "c" * 300),
    cache("the folder of the data", "cache", "."),
]
