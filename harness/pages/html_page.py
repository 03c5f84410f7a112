"""Renders the templates of this folder; all of them extend `page.html`, which has the style and the frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent


def write_page(path: Path, template: str, **values: Any) -> Path:
    """Render a template, write the page, and return its path.

    Args:
      path: where the page is written.
      template: file name of the template, in this folder.
      values: the variables of the template; text in them is escaped.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(TEMPLATES)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template(template).render(**values)
    path.write_text(text + "\n", encoding="utf-8")
    return path
