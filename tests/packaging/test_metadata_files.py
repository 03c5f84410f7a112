"""Contracts of the files for GitHub and for tools: CITATION.cff and .pre-commit-config.yaml say what is true."""

from __future__ import annotations

import pytest
import yaml
from documented import ROOT, pinned, project_version

import mapush

pytestmark = pytest.mark.packaging


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_citation_has_what_the_format_requires():
    """GitHub shows 'Cite this repository' only for a valid file; these keys are required, for references as well."""
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    for key in ("message", "title", "authors"):
        assert citation[key], key
    for reference in citation["references"]:
        for key in ("type", "title", "authors"):
            assert reference[key], key
    assert citation["license"] == "MIT"


def test_citation_names_the_version_of_the_project():
    """It changes with the release, in one commit."""
    assert str(read("CITATION.cff")["version"]) == project_version() == mapush.__version__


def test_pre_commit_runs_the_ruff_that_ci_runs():
    """A different version would format differently."""
    (repository,) = [one for one in read(".pre-commit-config.yaml")["repos"] if one["repo"].endswith("ruff-pre-commit")]
    assert repository["rev"] == "v" + pinned("ruff")
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format"]


def test_pre_commit_takes_mypy_from_the_environment():
    """The hook passes no files, so that mypy checks those of pyproject.toml, as `make check` does."""
    (local,) = [one for one in read(".pre-commit-config.yaml")["repos"] if one["repo"] == "local"]
    (hook,) = local["hooks"]
    assert hook["entry"] == "python -m mypy"
    assert hook["language"] == "system"
    assert hook["pass_filenames"] is False
