"""One way to check what a user wrote against a pydantic model, with errors that name the place and the fix."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.files import expanded

# A file, a folder, or what the Hub calls it; with the home folder for `~`, so that names can be compared.
PathOrName = Annotated[str, AfterValidator(expanded)]


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_truth(value, cls.model_fields[str(info.field_name)].annotation)


def refuse_truth(value: Any, hint: Any) -> Any:
    """Return a value, unless it holds true or false where a type tells of numbers alone: pydantic takes them for 1, 0.

    Raises:
        ValueError: it does.
    """
    kinds = _kinds(hint)
    if bool not in kinds and (int in kinds or float in kinds) and _holds_truth(value):
        raise ValueError("a number is expected, not true or false")
    return value


def _kinds(hint: Any) -> list[Any]:
    """Return a type and all that it is made of."""
    return [hint, *(kind for part in get_args(hint) for kind in _kinds(part))]


def _holds_truth(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_truth, value)))


SectionType = TypeVar("SectionType", bound=Section)


def parse_section(section: type[SectionType], values: Mapping[str, Any], where: str = "") -> SectionType:
    """Validate `values` against a section's fields.

    Args:
        section: the pydantic model.
        values: what the user wrote.
        where: prefix for the place in messages, such as `training.losses[0]`.

    Raises:
        DistillationError: an unknown key or an unfit value; every problem found is listed.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = [_describe(section, problem, where) for problem in error.errors()]
        raise DistillationError("\n".join(problems)) from None


def _describe(section: type[Section], problem: Any, where: str) -> str:
    location = [str(part) for part in problem["loc"] if not str(part).startswith(("function-", "union"))]
    place = ".".join(part for part in [where, *location] if part)
    if problem["type"] == "extra_forbidden":
        known = sorted(_fields_at(section, location[:-1]))
        return f"unknown key {shown(place)}.{did_you_mean(location[-1], known)} The keys there are: {', '.join(known)}."
    if problem["type"] == "missing":
        return f"{place!r} is missing: it is required."
    message = problem["msg"].removeprefix("Value error, ")
    came = "" if isinstance(problem["input"], Mapping) else f" = {shown(problem['input'])}"
    end = "" if message.endswith((".", "?")) else "."
    return f"{shown(place)}{came} does not fit: {message}{end}" if place else f"{message}{end}"


def _fields_at(section: type[Section], path: list[str]) -> list[str]:
    """Return the field names of the nested section that a path of keys leads to."""
    for key in (key for key in path if not key.isdigit()):  # of an entry of a list
        annotation = section.model_fields[key].annotation if key in section.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        nested = [item for item in candidates if isinstance(item, type) and issubclass(item, Section)]
        if not nested:
            return []
        section = nested[0]
    return list(section.model_fields)


class _Named(Section):
    """What every entry of a list of named things has, whatever else it holds."""

    model_config = ConfigDict(extra="ignore")

    name: str


def known_name(values: Any, where: str, known: Iterable[str], kind: str) -> str:
    """Return the name that an entry of a list gives.

    Args:
        values: the entry.
        where: what messages call it.
        known: the names that there are.
        kind: what they name, for messages.

    Raises:
        DistillationError: the entry has no name, or one that is not known.
    """
    name = parse_section(_Named, values, where).name
    names = sorted(known)
    if name not in names:
        raise DistillationError(f"{where} names no {kind}: {shown(name)}.{did_you_mean(name, names)} Known: {names}.")
    return name
