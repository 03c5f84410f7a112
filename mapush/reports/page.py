"""One self-contained HTML page: figures and tables in sections, with nothing to fetch."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import jinja2
from markupsafe import Markup

from mapush.reports.figures import COLOURS

TEMPLATE = Path(__file__).with_name("page.html")


@dataclasses.dataclass(frozen=True)
class Tile:
    """One number that matters.

    Attributes:
      name: of what was measured.
      value: with its unit.
      note: what to compare it with.
    """

    name: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
      text: what it says.
      note: small, below the text.
      href: where it leads.
      bar: a share in [0, 1] and its interval, drawn beside the text.
    """

    text: str
    note: str = ""
    href: str = ""
    bar: Optional[Tuple[float, float, float]] = None


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows below headings.

    Attributes:
      headings: of the columns.
      rows: of texts or cells.
      texts: how many columns hold texts; those after them hold numbers.
      marked: rows to be highlighted, by index.
      summary: of a table that is folded away until it is clicked.
      note: how to read it.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Union[str, Cell]]]
    texts: int = 1
    marked: Sequence[int] = ()
    summary: str = ""
    note: str = ""

    kind = "table"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
      svg: it.
      caption: how to read it.
      wide: it has a row of the page to itself.
      summary: of a figure that is folded away until it is clicked.
    """

    svg: Markup
    caption: str
    wide: bool = False
    summary: str = ""

    kind = "figure"


Block = Union[Figure, Table]


@dataclasses.dataclass(frozen=True)
class Section:
    """What belongs together.

    Attributes:
      title: of the section.
      blocks: side by side where there is room.
      text: what comes before them.
    """

    title: str
    blocks: Sequence[Block] = ()
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
      title: of the page.
      subtitle: what was measured, and how.
      tiles: the numbers that matter most.
      sections: the rest.
      footer: when and with what it was made.
    """

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: str

    def html(self) -> str:
        """Return the page as text."""
        environment = jinja2.Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
        )
        template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
        return template.render(page=self, colours=COLOURS)


def number(value: Optional[float], digits: int = 3, unit: str = "") -> str:
    """Return `value` with so many significant digits; a dash for what is not known."""
    if value is None or math.isnan(value):
        return "–"
    large = abs(value) >= 10**digits
    return (f"{value:,.0f}" if large else "{:.{}g}".format(value, digits)) + (" " + unit if unit else "")


def interval(bounds: Tuple[float, float], digits: int = 3) -> str:
    """Return both bounds; nothing if they are not known."""
    return "" if math.isnan(bounds[0]) else "{} to {}".format(*(number(bound, digits) for bound in bounds))


def short_names(names: Sequence[str]) -> List[str]:
    """Return the last part of each of these paths, where that tells them apart; else all of each."""
    last = [Path(name).name for name in names]
    return last if len(set(last)) == len(last) else list(names)
