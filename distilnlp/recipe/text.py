"""Recipes as text: YAML without its traps, and nothing of it let through that must not be written down.

Imports nothing that takes time, so that the command line can refuse a recipe at once.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from distilnlp.errors import SECRET, DistillationError, did_you_mean, shortened, shown
from distilnlp.files import expanded

LONGEST_TEXT = 1_000_000  # characters of a recipe, its aliases written out: 20,000 label names are half of that
LONGEST_WORD = 4096  # characters of one text in it: no path is longer
SECRET_KEYS = re.compile(r"(hub_|access_|auth_)?token|password|secret|api_?key", re.IGNORECASE)

# Keys that hold names of files, folders or models.
PATHS = re.compile(
    r"(data\.(source|unlabelled|augmentation_model)|(teacher|student)(\.model)?|output|trust_remote_code)\b"
)
LONGEST_NAME = 255  # bytes of a file's name, on all file systems that are in use

YAML_TAG = "tag:yaml.org,2002:"
BASE_60 = "!base60"
# What a bare word is: the core schema of YAML 1.2, in which `no` and `off` are texts and 1e-5 is a number.
SCALARS = {
    f"{YAML_TAG}null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    f"{YAML_TAG}bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    f"{YAML_TAG}int": (r"[-+]?[0-9]+", list("-+0123456789")),
    f"{YAML_TAG}float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    f"{YAML_TAG}merge": ("<<", ["<"]),
    BASE_60: (r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?", list("-+0123456789")),
}


class _Loader(yaml.SafeLoader):
    """Reads what a recipe can be made of: mappings with different texts as keys, lists, texts, numbers, true and false.

    What other readers of YAML take for something else than was meant is an error with its line.
    """

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _weight(node, {}) > LONGEST_TEXT:
            raise yaml.YAMLError(f"its aliases stand for more than {LONGEST_TEXT:,} characters")
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a text", key)
            if key.tag == f"{YAML_TAG}merge":
                continue
            if key.value in seen:
                raise _error(f"the key {shown(key.value)} is given twice", key)
            seen.add(key.value)
            key.tag = f"{YAML_TAG}str"  # also 1, true and null
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:  # of a tag that does not fit, `!!int abc`, and of numbers too long to be read
            raise _error(f"{shown(node.value, 50)} is not of type {node.tag.rpartition(':')[2]}", node) from error


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that this reader or another one, of YAML 1.1, would take for something else."""


def _refuse_base_60(_: yaml.SafeLoader, node: yaml.ScalarNode) -> None:
    raise _error(
        f"{shown(node.value, 50)} is a number to the base 60 in YAML; write the number, or quote the text", node
    )


_KINDS = [f"{YAML_TAG}{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")]
_Loader.yaml_constructors = {tag: make for tag, make in _Loader.yaml_constructors.items() if tag in (None, *_KINDS)}
_Loader.yaml_implicit_resolvers = {}
for _tag, (_pattern, _first) in SCALARS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)
    _Dumper.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(f"{YAML_TAG}int", lambda _, node: int(node.value))  # `010` is ten
_Loader.add_constructor(BASE_60, _refuse_base_60)


def read_yaml(text: str, name: str) -> Any:
    """Return what YAML, which messages call by this name, says.

    Raises:
        DistillationError: invalid YAML, a key given twice, or more than a recipe can hold.
    """
    if len(text) > LONGEST_TEXT:
        raise DistillationError(
            f"{name} has {len(text):,} characters, but at most {LONGEST_TEXT:,} are read. Shorten it."
        )
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise DistillationError(f"{name} is not valid YAML: it is nested too deeply, or in itself. Check it.") from None
    except yaml.YAMLError as error:
        raise DistillationError(f"{name} is not valid YAML: {_reason(error)}.") from None


def write_yaml(values: object) -> str:
    """Return values as YAML that `read_yaml` reads as the same values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def recipe_values(path: str | Path | None, overrides: Mapping[str, object]) -> dict[str, Any]:
    """Return what a recipe says, with overrides by dotted key, not yet checked against its sections.

    Raises:
        DistillationError: no such file, invalid YAML, or a token or password in it.
    """
    values = {} if path is None else _read_file(path)
    for key, value in overrides.items():
        inner, (*sections, last) = values, key.split(".")
        for section in sections:
            if not isinstance(inner.get(section), dict):  # `finetune: true` gives way to `--teacher.finetune.…`
                inner[section] = {}
            inner = inner[section]
        inner[last] = value
    check_texts(values)
    return values


def check_texts(values: object) -> None:
    """Refuse texts that must not be written to disk, or cannot be.

    Raises:
        DistillationError: a token or password, a character that no file's name has, a text longer than any path, or the
            home folder of an unknown user.
    """
    refuse_secrets(values)
    for place, value in _texts(values):
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
            raise DistillationError(
                f"{shown(place)} must be a text, but it holds NUL or bytes that are not UTF-8: {shown(value)}. Remove "
                "them."
            )
        if len(value) > LONGEST_WORD:
            raise DistillationError(
                f"{shown(place)} has {len(value):,} characters, but no text in a recipe may have more than "
                f"{LONGEST_WORD:,}. Shorten it."
            )
        if not PATHS.match(place):
            continue
        try:
            path = expanded(value)
        except ValueError as error:
            raise DistillationError(f"{place} = {shown(value)}: {error}. Check the path.") from None
        if any(len(part.encode()) > LONGEST_NAME for part in path.split("/")):
            raise DistillationError(
                f"{place} must be a path or a name, of which no part has more than {LONGEST_NAME} bytes, but it is "
                f"{shown(value)}. Check it."
            )


def refuse_secrets(values: object) -> None:
    """Refuse tokens and passwords, without showing them.

    Raises:
        DistillationError: a text looks like one, or its key says that it is one.
    """
    for place, value in _texts(values):
        is_named = SECRET_KEYS.fullmatch(place.rpartition(".")[2]) is not None
        if is_named or SECRET.search(value) or SECRET.search(place):
            raise DistillationError(
                f"{shown(place)} holds a token or password, which would be written to disk. Remove it, and set the "
                "environment variable HF_TOKEN, or log in once with `hf auth login`."
            )


def _read_file(path: str | Path) -> dict[str, Any]:
    try:
        path = Path(expanded(str(path)))
        if not path.is_file():
            siblings = [item.name for item in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
            hint = did_you_mean(path.name, siblings)
            raise DistillationError(f"there is no recipe {shortened(str(path), 200)}.{hint} Check the path.")
        if path.stat().st_size > 4 * LONGEST_TEXT:
            raise DistillationError(
                f"the recipe {path} is larger than {4 * LONGEST_TEXT:,} bytes. Is it the right file?"
            )
        values = read_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise DistillationError(f"{path} must be text in UTF-8, but it is not: {error}. Save it as UTF-8.") from None
    except DistillationError:
        raise
    except (OSError, ValueError) as error:  # a name that no file system takes, a file that may not be read
        raise DistillationError(f"the recipe {shown(str(path))} cannot be read: {error}. Check the path.") from None
    if not isinstance(values, dict):
        raise DistillationError(f"{path} must hold keys and values, but it holds {type(values).__name__}.")
    return values


def _texts(value: object, place: str = "") -> Iterator[tuple[str, str]]:
    """Give every text in a value with its place; keys count as texts."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield place, str(key)
            yield from _texts(inner, f"{place}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{place}[{index}]")


def _weight(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many characters a node stands for, its aliases written out."""
    if id(node) not in known:
        if isinstance(node, yaml.ScalarNode):
            known[id(node)] = 1 + len(node.value)
        else:
            parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else [entry])]
            known[id(node)] = 1 + sum(_weight(part, known) for part in parts)
    return known[id(node)]


def _error(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _reason(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the text around it, which may hold what is to be kept secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(f"{error.context or ''} {error.problem or ''}".split())
