"""Renders the templates of this folder; all of them extend `frame.html`, which the pages of mapush extend as well.

The frame, its style and its script are text files of the package mapush. They are read, and nothing is imported: the
part of the harness that judges other people's code uses no code of mapush but its errors.
"""

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

    own = jinja2.FileSystemLoader(str(TEMPLATES))
    shared = jinja2.PackageLoader("mapush", "templates")
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, shared]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template(template).render(**values)
    path.write_text(text + "\n", encoding="utf-8")
    return path
