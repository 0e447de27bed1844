"""One way to check what a user wrote against a pydantic model, with errors that name the place and the fix."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from distilnlp.errors import DistillationError, did_you_mean, shown
from distilnlp.files import expanded

# A file, a folder, or what the Hub calls it; with the home folder for `~`, so that names can be compared.
PathOrName = Annotated[str, AfterValidator(expanded)]
# Of a field that is a list of texts: a single text is a list of one.
ONE_OR_MORE = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)


def one_message(expected: str) -> WrapValidator:
    """Say of a field of several types what is expected, where pydantic has a line for each type that it tried."""

    def check(value: object, validate: ValidatorFunctionWrapHandler) -> object:
        try:
            return validate(value)
        except ValidationError:
            raise ValueError(expected) from None

    return WrapValidator(check)


class Section(BaseModel):
    """A part of a recipe: immutable, and an unknown key is an error rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_truth(cls, values: Any) -> Any:  # not a validator of the fields: the name of an entry may have none
        given = values if isinstance(values, Mapping) else {}
        wrong = [name for name, field in cls.model_fields.items() if is_wrong_truth(given.get(name), field.annotation)]
        if wrong:
            problem = PydanticCustomError("truth", NO_TRUTH)
            details = [InitErrorDetails(type=problem, loc=(name,), input=values[name]) for name in wrong]
            raise ValidationError.from_exception_data(cls.__name__, details)
        return values


NO_TRUTH = "a number is expected, not true or false"


def is_wrong_truth(value: object, hint: object) -> bool:
    """Tell whether a value holds true or false where the type allows only numbers: pydantic takes them for 1 and 0."""
    kinds = _kinds(hint)
    return bool not in kinds and (int in kinds or float in kinds) and _holds_truth(value)


def _kinds(hint: object) -> list[object]:
    """Return a type and all that it is made of."""
    return [hint, *(kind for part in get_args(hint) for kind in _kinds(part))]


def _holds_truth(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_holds_truth, value)))


SectionType = TypeVar("SectionType", bound=Section)


def parse_section(section: type[SectionType], values: Mapping[str, object], where: str = "") -> SectionType:
    """Validate what the user wrote `where`, such as `training.losses[0]`, against a section's fields.

    Raises:
        DistillationError: an unknown key or an unfit value; every problem found is listed.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = [_describe(section, problem, where, problem["loc"]) for problem in error.errors()]
        raise DistillationError("\n".join(problems)) from None


class Entries(Generic[SectionType]):
    """What the entries of a list can be: several sections, among which an entry chooses by its `name`.

    Attributes:
        by_name: the sections.

    Args:
        kind: what they are, for messages: `loss`.
        union: the sections, with a different `Literal` as `name` in each.
    """

    def __init__(self, kind: str, union: Any) -> None:
        self.by_name: dict[str, type[SectionType]] = {
            name: section for section in get_args(union) for name in get_args(section.model_fields["name"].annotation)
        }
        self._kind = kind
        self._adapter: TypeAdapter[SectionType] = TypeAdapter(Annotated[union, Field(discriminator="name")])

    def parse(self, values: object, where: str) -> SectionType:
        """Validate one entry, such as `losses[0]`; a section that was built in Python stays as it is.

        Raises:
            DistillationError: no name or an unknown one, an unknown key or an unfit value.
        """
        try:
            return self._adapter.validate_python(values)
        except ValidationError as error:
            raise DistillationError("\n".join(self._describe(problem, where) for problem in error.errors())) from None

    def _describe(self, problem: ErrorDetails, where: str) -> str:
        if problem["type"] == "union_tag_not_found":
            return _missing(f"{where}.name")
        if problem["type"] == "union_tag_invalid":
            name, names = problem["ctx"]["tag"], sorted(self.by_name)
            return f"{where} names no {self._kind}: {shown(name)}.{did_you_mean(name, names)} Known: {names}."
        name, *path = problem["loc"] or ("",)  # no place: it is not a mapping
        return _describe(self.by_name.get(str(name), Section), problem, where, path)


def _describe(section: type[Section], problem: ErrorDetails, where: str, path: Sequence[int | str]) -> str:
    """Say what pydantic found, at a path inside the section."""
    location = [str(part) for part in path if not str(part).startswith(("function-", "union"))]
    place = ".".join(part for part in [where, *location] if part)
    if problem["type"] == "extra_forbidden":
        known = sorted(_fields_at(section, location[:-1]))
        return f"unknown key {shown(place)}.{did_you_mean(location[-1], known)} The keys there are: {', '.join(known)}."
    if problem["type"] == "missing":
        return _missing(place)
    message = problem["msg"].removeprefix("Value error, ")
    message += "" if message.endswith((".", "?")) else "."
    if not place:
        return message
    if problem["type"] == "value_error" and not location:  # of the section as a whole
        return f"{where}: {message}"
    came = "" if isinstance(problem["input"], Mapping) else f" = {shown(problem['input'])}"
    return f"{shown(place)}{came} does not fit: {message}"


def _missing(place: str) -> str:
    return f"{place!r} is missing: it is required."


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
