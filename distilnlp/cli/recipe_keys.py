"""The keys of a recipe, read from the source of the classes that have them: to import these takes ten seconds."""

import ast
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from distilnlp.errors import DistillationError, did_you_mean, shown

# By the key of a section the classes whose fields are its keys, as (package, file, class).
RECIPE, TRAINER = ("distilnlp", "recipe/sections.py"), ("transformers", "training_args.py", "TrainingArguments")
SECTIONS: dict[str, list[tuple[str, str, str]]] = {
    "": [(*RECIPE, "Recipe")],
    "data": [("distilnlp", "data/config.py", "DataConfig")],
    "teacher": [(*RECIPE, "TeacherConfig")],
    "student": [(*RECIPE, "StudentConfig")],
    "training": [("distilnlp", "training/arguments.py", "DistillationTrainingArguments"), TRAINER],
    "teacher.finetune": [TRAINER],
    "baseline": [TRAINER],
    "evaluation": [(*RECIPE, "EvaluationConfig")],
}


@cache
def keys_of(section: str) -> frozenset[str]:
    """Return the keys of a section; none where a key holds values, or where there is no source to read them from."""
    return frozenset(name for place in SECTIONS.get(section, []) for name in _fields(*place))


def check_flags(flags: Iterable[str], others: Iterable[str]) -> None:
    """Refuse flags, without their `--`, that are no keys of a recipe; propose such a key or one of the others."""
    for flag in flags:
        parts = flag.split(".")
        for depth, name in enumerate(parts):
            known = keys_of(".".join(parts[:depth]))
            if not known:  # what is inside a value is checked with it
                break
            if name not in known:
                raise DistillationError(f"unknown flag {shown('--' + flag)}.{_hint(parts, depth, others)}")


def _hint(parts: list[str], depth: int, others: Iterable[str]) -> str:
    """Return the flag that is near, or has the same key in a section, or else the keys there are."""
    start, name, rest = parts[:depth], parts[depth], parts[depth + 1 :]
    here = [f"--{'.'.join([*start, key, *rest])}" for key in sorted(keys_of(".".join(start)))]
    elsewhere = [f"--{section}.{name}" for section in SECTIONS if section and name in keys_of(section)]
    if elsewhere:
        return f" Did you mean {elsewhere[0]!r}?"
    return did_you_mean(f"--{'.'.join(parts)}", [*here, *others]) or f" The keys there are: {', '.join(here)}."


@cache
def _fields(package: str, file: str, name: str) -> list[str]:
    """Return the names of the annotated fields of a class."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    path = Path(spec.submodule_search_locations[0]) / file
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):  # installed without sources: the recipe itself is checked later
        return []
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    fields = [node.target for body in bodies for node in body if isinstance(node, ast.AnnAssign)]
    return [target.id for target in fields if isinstance(target, ast.Name)]
