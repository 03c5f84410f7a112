"""One self-contained HTML page: figures and tables in sections, with nothing to fetch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Tile:
    """One important number.

    Attributes:
      name: what was measured.
      value: the number, with its unit.
      note: what to compare it with.
    """

    name: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
      text: the text.
      note: small text below it.
      href: the target of a link.
      bar: a share in [0, 1] and the bounds of its interval, drawn next to the text.
    """

    text: str
    note: str = ""
    href: str = ""
    bar: Optional[Tuple[float, float, float]] = None


Row = Sequence[Union[str, Cell]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      headings: headings of the columns.
      rows: cells, or their texts.
      texts: how many columns hold text; the columns after them hold numbers.
      marked: indices of the rows that are highlighted.
      summary: heading of a table that is hidden until it is clicked; '' shows the table.
      note: how to read it.
    """

    headings: Sequence[str]
    rows: Sequence[Row]
    texts: int = 1
    marked: Sequence[int] = ()
    summary: str = ""
    note: str = ""

    kind = "table"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
      svg: the drawing.
      caption: how to read it.
      wide: whether it takes the full width of the page.
      summary: heading of a figure that is hidden until it is clicked; '' shows the figure.
    """

    svg: Markup
    caption: str
    wide: bool = False
    summary: str = ""

    kind = "figure"


Block = Union[Figure, Table]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
      title: title of the section.
      blocks: figures and tables, side by side where there is room.
      text: introduction.
    """

    title: str
    blocks: Sequence[Block] = ()
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
      title: title of the page.
      subtitle: what was measured, and how.
      tiles: the most important numbers.
      sections: the rest.
      footer: when and with what the page was made.
    """

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: str

    def html(self) -> str:
        """Return the page as HTML."""
        own = jinja2.FileSystemLoader(str(TEMPLATES))
        shared = jinja2.PackageLoader("mapush", "templates")
        environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([own, shared]),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        return environment.get_template("report.html").render(title=self.title, page=self)
