"""The flags of the commands that take a recipe: made of the recipe's schema, read by pydantic-settings.

The schema is data, so that help and wrong flags need no library that takes seconds to import; what `training` inherits
is read from the source of transformers. docs/command-line.md says why it is pydantic-settings that reads them.
"""

import argparse
import ast
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import TextWrapper, fill
from typing import TYPE_CHECKING, Any

from distilnlp.errors import DistillationError, did_you_mean, shortened, shown
from distilnlp.recipe.reserved import RESERVED_ARGUMENTS
from distilnlp.recipe.text import read_yaml

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

SCHEMA = Path(__file__).parents[1] / "recipe" / "schema.json"
SHORT = {  # forms of their own for the keys that are set most often, in the order of the help
    "teacher": "teacher.model",
    "data": "data.source",
    "output": "output",
    "task": "task",
    "unlabelled": "data.unlabelled",
    "text-column": "data.text_columns",
    "label-column": "data.label_column",
    "max-length": "data.max_length",
    "num-layers": "student.num_layers",
    "epochs": "training.num_train_epochs",
    "batch-size": "training.per_device_train_batch_size",
    "learning-rate": "training.learning_rate",
    "trust-remote-code": "trust_remote_code",
}
# What people call keys elsewhere.
ALSO_CALLED = {
    "lr": "training.learning_rate",
    "batch_size": "training.per_device_train_batch_size",
    "train_batch_size": "training.per_device_train_batch_size",
    "steps": "training.max_steps",
    "alpha": "training.soft_loss_weight",
    "layers": "student.num_layers",
    "student": "student.model",
    "text_columns": "data.text_columns",
    "model": "teacher.model",
}
HOLDS_ARGUMENTS = ("baseline", "teacher.finetune")  # true, or arguments of TrainingArguments
LISTS = "array"
MARKS = re.compile(r"[^\w\s\[\]{}\"'~]+\s?")  # a delimiter is itself, though YAML reads more into it
YAML = ("[", "{")  # with which a value begins that is no list with commas
REPEATABLE = "LIST"  # as help calls what takes a list and nothing else


class RecipeFlags:
    """The flags of a parser that stand for keys of a recipe.

    Args:
        parser: to which they are added.
        sections: sections and keys of the recipe that are taken; none = all.
        short: short names of keys; None = the usual ones.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, sections: Sequence[str] = (), short: Mapping[str, str] | None = None
    ) -> None:
        from pydantic_settings import CliSettingsSource

        taken = tuple(f"{section}." for section in sections)
        keys = {key: kind for key, kind in recipe_keys().items() if not sections or f"{key}.".startswith(taken)}
        others = set(parser._actions)
        self.source: CliSettingsSource[Any] = CliSettingsSource(
            _light_model(keys),
            root_parser=parser,
            cli_parse_args=False,
            cli_avoid_json=True,
            cli_hide_none_type=True,
            cli_ignore_unknown_args=True,
        )
        self.sections = sections
        self.keys, self.short = keys, {f"--{name}": f"--{key}" for name, key in (short or SHORT).items() if key in keys}
        _tidy_help(parser, others, keys)

    def spelt_out(self, words: Sequence[str]) -> list[str]:
        """Return a command line with whole names, `true` for flags that stand alone, and values that stay whole."""
        words, spelt = list(words), []
        while words:
            flag, has_value, value = words.pop(0).partition("=")
            flag = self.short.get(flag, flag)
            kind = self.keys.get(flag[2:], {}) if flag.startswith("--") else {}
            if _is(kind, "boolean") and not has_value:
                is_next = words[:1] and (words[0].lower() in ("true", "false") or words[0].startswith(YAML))
                has_value, value = "=", words.pop(0) if is_next else "true"
            elif _kind(kind) is not str and not has_value and words and not words[0].startswith("--"):
                has_value, value = "=", words.pop(0)
            if has_value and _kind(kind) is not str and (value[:1] in YAML or "," not in value):
                value = json.dumps([value])  # else the library takes it apart at its commas
            spelt.append(flag + has_value + value)
        return spelt

    def values(self, args: argparse.Namespace) -> dict[str, Any]:
        """Return the values that were given, by dotted key, read as YAML.

        Raises:
            DistillationError: a value is no YAML, or no text.
        """
        from pydantic_settings import SettingsError

        try:
            given = self.source(parsed_args=args)()
        except SettingsError as error:
            raise DistillationError(f"a flag cannot be read: {error}. Quote its value.") from None
        return dict(_flat(given, self.keys))


@cache
def recipe_keys() -> dict[str, dict[str, Any]]:
    """Return the schema of each key of a recipe by its dotted name, sections aside, the inherited ones among them."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    keys = dict(_leaves(schema, schema, ""))
    inherited = _trainer_arguments()
    for name, kind in inherited.items():
        keys[f"training.{name}"] = kind | keys.get(f"training.{name}", {})
        for owner in HOLDS_ARGUMENTS:
            keys[f"{owner}.{name}"] = kind
    return {key: kind for key, kind in keys.items() if key != "training"}


def _leaves(node: Mapping[str, Any], schema: Mapping[str, Any], place: str) -> Any:
    for name, kind in node.get("properties", {}).items():
        key = f"{place}.{name}".lstrip(".")
        if "$ref" in kind:
            kind = {**kind, **schema["$defs"][kind["$ref"].rpartition("/")[2]]}
        if "properties" in kind:
            yield from _leaves(kind, schema, key)
        else:
            yield key, kind


@cache
def _trainer_arguments() -> dict[str, dict[str, Any]]:
    """Return what the installed transformers says of the arguments of a training; nothing without its source."""
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return {}
    try:
        tree = ast.parse((Path(spec.submodule_search_locations[0]) / "training_args.py").read_text(encoding="utf-8"))
    except (OSError, SyntaxError):  # installed without sources: the recipe itself is checked later
        return {}
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainingArguments"]
    fields = [node for body in bodies for node in body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: _argument(node) for node in fields if isinstance(node.target, ast.Name)}


def _argument(node: ast.AnnAssign) -> dict[str, Any]:
    annotation = ast.unparse(node.annotation)
    options = {each.arg: each.value for each in node.value.keywords} if isinstance(node.value, ast.Call) else {}
    help_, default = _literal(options.get("metadata")), _literal(options.get("default", node.value))
    words = {"bool": "boolean", "list": LISTS, "int": "integer", "float": "number"}
    kind = next((name for word, name in words.items() if word in annotation and "str" not in annotation), "string")
    description = " ".join(str((help_ or {}).get("help", "")).split()) if isinstance(help_, dict) else ""
    return {"type": kind, "default": default, "description": description}


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


# ---- What pydantic-settings reads ----


def _light_model(keys: Mapping[str, Mapping[str, Any]]) -> type["BaseSettings"]:
    """Return a model with a field for each key, whose values stay text; they are checked later, by the recipe."""
    from pydantic import Field, create_model
    from pydantic_settings import BaseSettings

    nested: dict[str, Any] = {}
    for key, kind in keys.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            held = inner.setdefault(section, {})
            if not isinstance(held, dict):  # true, or what is below it
                held = inner[section] = {"": held}
            inner = held
        field = (_kind(kind), Field(default=kind.get("default"), description=kind.get("description", "")))
        inner[last] = {"": field, **inner[last]} if isinstance(inner.get(last), dict) else field

    def model(name: str, fields: Mapping[str, Any], base: Any = None) -> Any:
        made: dict[str, Any] = {}
        for own, field in fields.items():
            if isinstance(field, dict):
                below = model(own, {inner: each for inner, each in field.items() if inner})
                alone = field.get("")
                kind = below if alone is None else str | below
                about = "" if alone is None else alone[1].description
                field = (kind, Field(default=None, description=about))
            made[own] = field
        return create_model(name, __base__=base, **made)

    made: type[BaseSettings] = model("Recipe", nested, BaseSettings)
    return made


def _kind(kind: Mapping[str, Any]) -> Any:
    """Return the type by which the library reads a value: a list of texts, or one text, which is YAML."""
    return list[str] if _is(kind, LISTS) and not any(word in str(kind) for word in ("object", "$ref")) else str


def _is(kind: Mapping[str, Any], name: str) -> bool:
    return name in [each.get("type") for each in kind.get("anyOf", [kind])]


def _flat(values: Mapping[str, Any], keys: Mapping[str, Mapping[str, Any]], place: str = "") -> Any:
    for name, value in values.items():
        key = f"{place}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from _flat(value, keys, key)
        else:
            yield key, _read(key, value, keys[key])


def _read(key: str, value: Any, kind: Mapping[str, Any]) -> Any:
    if value in ([None], ["null"]):
        return None
    if isinstance(value, list) and len(value) == 1 and str(value[0])[:1] in YAML:
        return read_yaml(value[0], f"the value of --{key}, {shown(value[0])},")
    if isinstance(value, list):
        items = [_read(key, each, {"type": "string"}) for each in value] if "integer" in str(kind) else value
        one = any(each.get("type") == "string" for each in kind.get("anyOf", ()))
        return items[0] if len(items) == 1 and one else items
    if not isinstance(value, str) or MARKS.fullmatch(value):
        return value
    return read_yaml(value, f"the value of --{key}, {shown(value)},")


# ---- Help, and what is wrong ----


def _tidy_help(
    parser: argparse.ArgumentParser, others: set[argparse.Action], keys: Mapping[str, Mapping[str, Any]]
) -> None:
    """Say the types as a user calls them, and nothing twice: `baseline.x` and `teacher.finetune.x` are `training.x`."""
    for action in set(parser._actions) - others:
        is_hidden = action.dest.startswith(tuple(f"{owner}." for owner in HOLDS_ARGUMENTS))
        is_hidden = is_hidden or action.dest.removeprefix("training.") in RESERVED_ARGUMENTS.keys() - keys
        action.help = argparse.SUPPRESS if is_hidden else (action.help or "").replace(" (default: None)", "")
        action.metavar = _type_of(keys.get(action.dest, {}))
    for group in parser._action_groups:
        owner = str(group.title).removesuffix(" options")
        if owner in HOLDS_ARGUMENTS:
            about = f"--{owner} [true]: {keys[owner]['description']}. Each as --{owner}.KEY VALUE."
            group.description = fill(about, 78)
        elif group.description:
            group.description = None


def _type_of(kind: Mapping[str, Any]) -> str:
    """Return what a value is, as help calls it."""
    if "enum" in kind:
        return "{" + ",".join(map(str, kind["enum"])) + "}"
    names = [each["type"] for each in kind.get("anyOf", [kind]) if each.get("type") not in (None, "null")]
    words = {"array": REPEATABLE if _kind(kind) is not str else "MAPPINGS", "object": "MAPPING"}
    words |= {"integer": "INTEGER", "number": "NUMBER"}
    return "|".join(dict.fromkeys(words.get(name, "TEXT") for name in names)) or "VALUE"


def common_flags() -> str:
    """Return the flags that are set most often, a line each, for the beginning of the help."""
    keys = recipe_keys()
    lines = [(f"--{name} {_type_of(keys[key])}", str(keys[key].get("description", ""))) for name, key in SHORT.items()]
    wrap = TextWrapper(80, initial_indent="  ", subsequent_indent=" " * 26)
    return "\n".join(wrap.fill(f"{flag:<23} {shortened(text.split(';')[0], 120)}") for flag, text in lines)


def check_flags(words: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Refuse flags that a parser does not know, or that are given twice though they take one value, or without one.

    Raises:
        DistillationError: such a flag, with the nearest one of all sections.
    """
    known, given = parser._option_string_actions, set()
    flags: RecipeFlags | None = parser.get_default("flags")
    for place, word in enumerate(words):
        flag, has_value, _ = word.partition("=")
        if not flag.startswith("--"):
            continue
        action = known.get(flag)
        if action is None:
            if flags is not None and flag[2:] in recipe_keys():
                raise DistillationError(
                    f"{parser.prog} takes keys of {', '.join(flags.sections)}, not {flag}. Leave it out."
                )
            names = [name for name in known if known[name].help != argparse.SUPPRESS or name.startswith(flag[:10])]
            raise DistillationError(f"unknown flag {shown(flag)}.{_hint(flag, names)}")
        if (
            flags is not None
            and flag[2:] not in flags.keys
            and any(key.startswith(f"{flag[2:]}.") for key in flags.keys)
        ):
            raise DistillationError(f"{flag} is a section of a recipe. Give its keys, each as {flag}.KEY VALUE.")
        short = next((own for own, whole in flags.short.items() if whole == flag), None) if flags is not None else None
        named = f"{shortened(flag, 200)}{f' ({short})' if short else ''}"
        if action.dest in given and action.metavar != REPEATABLE:
            raise DistillationError(f"the flag {named} is given twice. Give it once.")
        given.add(action.dest)
        rest = words[place + 1 : place + 2]
        if action.nargs is None and not has_value and (not rest or rest[0].startswith("--")):
            raise DistillationError(f"the flag {named} has no value. Write {shortened(flag, 200)} VALUE.")


def _hint(flag: str, known: Sequence[str]) -> str:
    """Return the nearest flag: of the same last name, called so elsewhere, or spelt alike."""
    last = flag.rpartition(".")[2].lstrip("-").replace("-", "_")
    by_last: dict[str, str] = {}
    for name in sorted(known, key=lambda name: name.count(".")):
        by_last.setdefault(name.rpartition(".")[2].lstrip("-"), name)
    by_last |= {name.replace("-", "_"): f"--{name}" for name, key in SHORT.items() if f"--{key}" in known}
    meant = f"--{ALSO_CALLED[last]}" if last in ALSO_CALLED else by_last.get(last)
    if "." in flag:
        return did_you_mean(flag, known) or (f" Did you mean {meant!r}?" if meant else "")
    if meant in known or meant in by_last.values():
        return f" Did you mean {meant!r}?"
    close = did_you_mean(last, by_last)
    return next((f" Did you mean {name!r}?" for own, name in by_last.items() if repr(own) in close), "")
