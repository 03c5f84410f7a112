"""The notebook of the first hour runs from top to bottom, with small numbers, and shows what its text says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "first_hour.ipynb"
SMALL = {"ENV_STEPS": "960", "NUM_ENVS": "3", "EPISODES": "2"}
MOST_OUTPUT = 1_000  # characters stored with the notebook
IPYTHON = """
import sys, types
display = types.ModuleType("IPython.display")
display.IFrame = lambda src, **size: print("frame of", src)
ipython = types.ModuleType("IPython")
ipython.get_ipython, ipython.version_info = lambda: None, (9, 0, 0)
sys.modules["IPython"], sys.modules["IPython.display"] = ipython, display
"""
"""Stands for IPython, which CI does not install."""


def cells(kind):
    """Return the sources of the cells of this kind, in order."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_notebook_runs_from_top_to_bottom(tmp_path):
    """All code cells in one namespace, in an empty folder: a run, a curve, two success rates, and a film.

    A few seconds, because it trains, plays two policies and draws.
    """
    settings, *others = cells("code")
    for name, value in SMALL.items():
        settings, count = re.subn(rf"^{name} = [\d_]+", f"{name} = {value}", settings, flags=re.MULTILINE)
        assert count == 1
    script = "\n\n".join([IPYTHON, settings, *others, "print(len(rows), 'rows', success['shipped'])"])
    env = dict(os.environ, MPLBACKEND="agg")
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", script],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 rows 1.0" in done.stdout
    (film,) = re.findall("frame of (.*)", done.stdout)
    assert (tmp_path / film).read_text(encoding="utf-8").startswith("<!")
    assert "trained here: success rate" in done.stdout


def test_notebook_is_stored_without_results():
    """Outputs would make every run a change of the file, and this one large."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    stored = [cell for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count")]
    assert len(json.dumps([cell["outputs"] for cell in stored])) < MOST_OUTPUT
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_links_of_the_notebook_lead_to_files():
    """Its last cell leads on, to files of this repository."""
    links = re.findall(r"\]\(([^):]+)\)", "\n".join(cells("markdown")))
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []
