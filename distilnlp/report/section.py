"""What a report is made of: sections with plots, tables and texts; the template lays them out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Cell = str | Markup  # a text is escaped by the template


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: of its columns.
        rows: cells, the first of a row is its title.
        note: what stands below it.
        is_text: whether the cells are texts to be read, and not figures.
    """

    header: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_text: bool = False


@dataclass(frozen=True)
class Plot:
    """A plot, with what it shows in words."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """A section: sentences, then plots beside one another, then tables."""

    title: str
    said: Sequence[str] = ()
    plots: Sequence[Plot] = field(default=())
    tables: Sequence[Table] = field(default=())
