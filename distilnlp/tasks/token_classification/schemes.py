"""How the tags of words say where an entity begins and ends."""

import logging
import re
from collections.abc import Sequence
from functools import cache

from distilnlp.errors import DistillationError, shown

logger = logging.getLogger(__name__)

ENTITY_TAG = re.compile("([A-Z])(?:[-_](.+))?")
# Per scheme, what its prefixes are in IOBES, in which IOB1, IOB2 and IOE are contained.
SCHEMES = {
    "IOB or IOBES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "L": "E", "U": "S"},
    "BMES": {"B": "B", "M": "I", "E": "E", "S": "S"},
    "BMEWO": {"B": "B", "M": "I", "E": "E", "W": "S"},
}


@cache  # so that it is said once
def entity_tags(names: tuple[str, ...] | None) -> list[str] | None:
    """Return the tags as IOBES writes them, or None, which is said, where they follow no scheme of `SCHEMES`.

    A prefix comes before `-` or `_` and the type of the entity; of entities without types it is the whole tag.
    """
    if names is None:
        logger.info("the word tags have no names: accuracy over the words is measured, not F1 of entities")
        return None
    found = {name: ENTITY_TAG.fullmatch(name) for name in names if name != "O"}
    parts = {name: match.groups() for name, match in found.items() if match}
    are_alike = len({kind is None for _, kind in parts.values()}) == 1
    if len(parts) == len(found) and are_alike:
        for scheme, letters in SCHEMES.items():
            if {prefix for prefix, _ in parts.values()} <= set(letters):
                logger.info("the word tags follow %s: whole entities are scored", scheme)
                rewritten = {name: f"{letters[prefix]}-{kind or ''}" for name, (prefix, kind) in parts.items()}
                return [rewritten.get(name, name) for name in names]
    other = next((name for name in names if name != "O" and name not in parts), "their prefixes together")
    logger.info(
        "the word tags follow none of the schemes %s (%s): accuracy over the words is measured, not F1 of entities",
        ", ".join(SCHEMES),
        shown(other),
    )
    return None


def refuse_two_schemes(names: Sequence[str]) -> None:
    """Raise a `DistillationError` if tags look like those of entities, but of two schemes in one."""
    found = [ENTITY_TAG.fullmatch(name) for name in names if name != "O"]
    prefixes = {match[1] for match in found if match and match[2]}
    known = {letter for letters in SCHEMES.values() for letter in letters}
    are_entities = "O" in names and len(prefixes) > 1 and prefixes <= known and all(found)
    if are_entities and not any(prefixes <= {*letters} for letters in SCHEMES.values()):
        raise DistillationError(
            f"the tags {shown(list(names))} are of two schemes in one: no scheme has all of the prefixes "
            f"{sorted(prefixes)}; {', '.join(f'{name} has {sorted(letters)}' for name, letters in SCHEMES.items())}. "
            "Rewrite one of them."
        )
