"""The JSON Schema of a recipe: every key with its type, default and description, for editors and the command line.

`python -m distilnlp.recipe.schema` writes it again where the sections have changed. What `training` takes over from
`TrainingArguments` is not in it: that is as the installed transformers says.
"""

import dataclasses
import json
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from transformers import TrainingArguments

from distilnlp.recipe.defaults import DISTILL_DEFAULTS
from distilnlp.recipe.sections import Recipe
from distilnlp.training.arguments import DistillationTrainingArguments

FILE = Path(__file__).with_name("schema.json")
KINDS = {bool: "boolean", int: "integer", float: "number", str: "string", dict: "object"}


def recipe_schema() -> dict[str, Any]:
    """Return the schema of the sections, with the arguments of `training` that are our own, or have own defaults."""
    schema = Recipe.model_json_schema()
    inherited = {field.name for field in dataclasses.fields(TrainingArguments)}
    hints = get_type_hints(DistillationTrainingArguments)
    own = {
        field.name: {
            **_type(hints[field.name]),
            "default": field.default,
            "description": field.metadata["help"],
        }
        for field in dataclasses.fields(DistillationTrainingArguments)
        if field.init and field.name not in inherited
    }
    defaults = {name: {"default": value} for name, value in DISTILL_DEFAULTS.items()}
    schema["properties"]["training"]["properties"] = {**own, **defaults}
    return schema


def _type(hint: Any) -> dict[str, Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if each is type(None) else _type(each) for each in get_args(hint)]}
    if get_origin(hint) is list:
        return {"type": "array", "items": _type(get_args(hint)[0])}
    return {"type": KINDS[get_origin(hint) or hint]}


if __name__ == "__main__":
    FILE.write_text(json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
