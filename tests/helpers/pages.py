"""HTML pages as a reader sees them: tables, figures, links and what the page would fetch."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

FETCHED = {"src", "href", "srcset", "data", "poster", "xlink:href", "action"}
VOID = {"meta", "link", "br", "img", "input"}


class Document(HTMLParser):
    """A page that was read.

    Attributes:
      tables: rows of cells, each with the text of the cell, headings included.
      tiles: name, value and note.
      figures: how many.
      references: what elements refer to: tag and address.
      ids: of all elements.
      text: all that a reader sees.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tables: List[List[List[str]]] = []
        self.tiles: List[List[str]] = []
        self.figures = 0
        self.references: List[Tuple[str, str]] = []
        self.ids: List[str] = []
        self._open: List[str] = []
        self._cell: Optional[List[str]] = None
        self._seen: List[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self._open, f"elements that are not closed: {self._open}"
        self.text = " ".join(self._seen)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Note what opens."""
        values: Dict[str, str] = {name: value or "" for name, value in attrs}
        self.references += [(tag, value) for name, value in values.items() if name in FETCHED]
        self.ids += [values["id"]] if "id" in values else []
        self.figures += tag == "figure"
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []
        elif values.get("class") == "tile":
            self.tiles.append([])
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        """Note an element that has no inside."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Note what closes."""
        assert self._open.pop() == tag
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        """Note text."""
        text = data.strip()
        if not text or {"style", "script"} & set(self._open):
            return
        self._seen.append(text)
        if self._cell is not None:
            self._cell.append(text)
        elif self.tiles and "header" in self._open and "nav" not in self._open:
            self.tiles[-1].append(text)

    def table(self, heading: str) -> List[List[str]]:
        """Return the rows of the table with this heading."""
        return next(rows[1:] for rows in self.tables if heading in rows[0])

    def outside(self) -> List[str]:
        """Return what would have to be fetched from elsewhere."""
        style = re.findall(r"url\(([^)]*)\)|@import ([^;]*)", self.source)
        named = [address for _, address in self.references] + [one or other for one, other in style]
        return [address for address in named if re.match(r"['\"]?(\w+:)?//", address)]
