"""Every page in a real browser: it fits a phone, follows dark mode, sorts its tables, and its numbers line up."""

from __future__ import annotations

import re
import shutil
import sys

import pytest
from browsers import open_browser
from test_report_page import SETTING, no_recording
from test_report_training import add_results, make_run

from benchmarks.report import evaluation_of, made_up_trace
from harness.findings import Finding
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, LEAK, MeterVerdict
from harness.pages.check_page import ReportRow, write_report
from harness.pages.soak_page import write_soak
from mapush.report import main
from mapush.reports.evaluation_report import write_evaluation

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.browser]

PAGES = ("evaluation", "training", "begun", "check", "soak")
LIGHT, DARK = "rgb(244, 246, 248)", "rgb(17, 23, 29)"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ERRORS = []  # what browsers complained about

NUMBER_CELLS = """
() => [...document.querySelectorAll("table")].flatMap(table =>
  [...table.tHead.rows[0].cells].map((heading, column) => ({
    heading: heading.textContent,
    is_text: heading.classList.contains("text-cell"),
    cells: [...table.tBodies[0].rows].map(row => row.cells[column]).map(cell => ({
      text: [...cell.childNodes].filter(node => node.nodeName !== "SMALL").map(node => node.textContent).join(""),
      align: getComputedStyle(cell).textAlign,
      digits: getComputedStyle(cell).fontVariantNumeric,
    })),
  })))
"""
TITLES = """
() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")];
  const titles = texts.filter(text => /bold|700/.test(text.style.font + text.style.fontWeight));
  return titles.map(title => {
    const box = title.getBoundingClientRect();
    return {text: title.textContent, svg: frame.top, left: box.left, right: box.right, top: box.top, bottom: box.bottom,
            inside: box.left >= frame.left && box.right <= frame.right + 0.5};
  });
})
"""
COLUMN = """
(column) => [...document.querySelector("table").tBodies[0].rows].map(row => row.cells[column].innerText.split("\\n")[0])
"""


def _write_evaluation(folder):
    folder.mkdir()
    group = []
    for step in (10_000_000, 20_000_000):
        group.append(evaluation_of(made_up_trace(23, seed=step, max_length=60), step, f"step_{step}.pt"))
    other = [evaluation_of(made_up_trace(23, seed=1, max_length=60), 7000, "p.pt")]
    evaluations = {"runs/a_run_with_a_name_of_many_words": group, "runs/other": other}
    return write_evaluation(folder, SETTING, evaluations, record=no_recording)


def _write_training(folder, rows):
    run = make_run(folder, rows=rows)
    columns = [("policy_loss", 0.5), ("std", 0.7), ("ratio", 1.0), ("actor_grad_norm", 2.0), ("critic_grad_norm", 3.0)]
    log = run / "progress.csv"
    lines = log.read_text().splitlines()
    lines[0] += "".join(f",train/{name}" for name, _ in columns)
    for row in range(1, len(lines)):
        lines[row] += "".join(f",{value}" for _, value in columns)
    log.write_text("\n".join(lines) + "\n")
    if rows > 1:
        add_results(run)
    else:
        shutil.rmtree(str(run / "checkpoints"))
    assert main([str(run)]) == 0
    return run / "report.html"


def _write_check(folder):
    finding = Finding(
        "impulse",
        "actions of env 0 go to env 1",
        where="after 1 step: " + "a_very_long_word" * 20,
        cause="actions are transposed",
        fix="index actions[env, agent]",
        reproduce="python -m harness check " + "x" * 150,
        replay="python -m harness replay " + "y" * 150,
    )
    rows = [
        ReportRow("finite", "passed", 0.25),
        ReportRow("impulse", "failed", 1.5, finding.what, str(finding), findings=[finding.fields]),
        ReportRow("horizon", "skipped", 0.0, "episodes never end"),
        ReportRow("tests/test_a.py::test_" + "long_" * 30, "failed", 12.0, "a diagnosis " * 10, "E  details/" * 40),
    ]
    return write_report(folder, rows, "package.module.of.many.words:make_environment")


def _write_soak(folder):
    report = SoakReport(LEAK, "heap: leak", ["entries of a dict held by package.module." + "words_" * 12], steps=300)
    report.findings = [
        MeterVerdict("threads", "threads", CLEAN, slope=0.0, interval=(0.0, 0.0), floor=0.013, growth=0.0),
        MeterVerdict("heap", "bytes", LEAK, slope=4188.0, interval=(4147.0, 4198.0), floor=904.0, growth=1.2e6),
        MeterVerdict("rss", "bytes", CLEAN, "too few readings"),
    ]
    report.peaks = {"threads": 1.0, "heap": 1.1e8}
    report.curves = {"heap": [(step, 0.1 * step, 4000.0 * step, 4100.0 * step) for step in range(20)]}
    return write_soak(report, folder)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Write each page."""
    folder = tmp_path_factory.mktemp("pages")
    return {
        "evaluation": _write_evaluation(folder / "evaluation"),
        "training": _write_training(folder / "training", 7),
        "begun": _write_training(folder / "begun", 1),
        "check": _write_check(folder / "check"),
        "soak": _write_soak(folder / "soak"),
    }


@pytest.fixture(scope="module")
def browser():
    """Run a browser."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def visit(browser, paths):
    """Return what opens a page in a window of a width and a colour scheme, without a network."""
    contexts = {}

    def visit(name, width=1280, scheme="light"):
        if (width, scheme) not in contexts:
            size = {"width": width, "height": 844}
            contexts[width, scheme] = browser.new_context(offline=True, color_scheme=scheme, viewport=size)
        page = contexts[width, scheme].new_page()
        page.on("console", lambda message: ERRORS.append(message.text))
        page.on("pageerror", lambda error: ERRORS.append(str(error)))
        page.goto(paths[name].as_uri())
        return page

    return visit


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme, background", [("light", LIGHT), ("dark", DARK)])
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_the_window_and_follows_the_colour_scheme(visit, name, width, scheme, background):
    """On a phone and on a desktop only tables and figures scroll sideways, and nothing is complained about."""
    page = visit(name, width, scheme)
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
    assert ERRORS == []
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_numbers_of_a_column_have_one_format_and_line_up(visit, name):
    """Each column of numbers is aligned to the right, with digits of one width and the same number of decimals."""
    page = visit(name)
    seen = 0
    for column in page.evaluate(NUMBER_CELLS):
        formats = set()
        for cell in column["cells"]:
            assert (cell["align"] == "left") == column["is_text"], column
            if not column["is_text"]:
                assert "tabular-nums" in cell["digits"]
            number = re.fullmatch(r"-?[\d,]+(\.\d+)?(%?)", cell["text"].strip())
            if number and not column["is_text"]:
                formats.add((len(number[1] or ""), number[2]))
                seen += 1
        assert len(formats) <= 1, column
    assert seen > 0 or name == "begun"
    page.close()


def test_click_on_a_heading_sorts_upwards_and_then_downwards(visit):
    """Numbers are sorted as numbers, texts as texts."""
    page = visit("check")
    headings = [heading.inner_text() for heading in page.locator("th").all()[:4]]
    for heading, first, last in (("time [s]", "0.00", "12.00"), ("outcome", "failed", "skipped")):
        index = headings.index(heading)
        page.locator("th").nth(index).click()
        upwards = page.evaluate(COLUMN, index)
        assert (upwards[0], upwards[-1]) == (first, last)
        assert page.locator("th").nth(index).get_attribute("aria-sort") == "ascending"
        page.locator("th").nth(index).press("Enter")
        downwards = page.evaluate(COLUMN, index)
        assert (downwards[0], downwards[-1]) == (last, first)
    page.close()


def test_cells_without_a_number_are_sorted_to_the_end(visit):
    """Upwards and downwards, what is not known comes last."""
    page = visit("evaluation")
    heading = page.get_by_role("columnheader", name="collision rate").first
    index = heading.evaluate("heading => heading.cellIndex")
    for _ in range(2):
        heading.click()
        assert page.evaluate(COLUMN, index)[-1] == "–"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_row_that_leaks_comes_first_and_is_marked(visit, scheme):
    """Its background differs from that of the other rows."""
    page = visit("soak", scheme=scheme)
    rows = page.locator("tbody tr")
    colours = rows.locator("td:first-child").evaluate_all(
        "cells => cells.map(cell => getComputedStyle(cell).backgroundColor)"
    )
    assert rows.first.locator("td").first.inner_text() == "heap"
    assert colours[1] == colours[2] != colours[0]
    assert "failed" in rows.first.get_attribute("class")
    page.close()


def test_finding_shows_its_cause_and_its_fix_first(visit):
    """The findings come before the table of all checks, and each begins with what the reader can do."""
    page = visit("check")
    assert [title.inner_text() for title in page.locator("h2").all()] == ["Findings", "All checks", "Versions"]
    card = page.locator("article").first
    terms = [term.inner_text() for term in card.locator("dt").all()]
    assert terms == ["cause", "fix", "where", "reproduce", "replay"]
    assert card.locator("dd").nth(1).inner_text() == "index actions[env, agent]"
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_titles_of_panels_are_not_cut_off_and_do_not_run_together(visit, width):
    """Also long titles, next to each other, in the fonts of the browser."""
    page = visit("training", width)
    titles = page.evaluate(TITLES)
    assert len(titles) > 10
    for title in titles:
        assert title["inside"], title
        for other in titles:
            apart = title["right"] <= other["left"] or other["right"] <= title["left"]
            above = title["bottom"] <= other["top"] + 1 or other["bottom"] <= title["top"] + 1
            assert title is other or title["svg"] != other["svg"] or apart or above, (title, other)
    page.close()


def test_run_of_one_iteration_has_a_dot_in_every_panel(visit):
    """A curve of one point would draw nothing."""
    page = visit("begun")
    for figure in page.locator("figure").all():
        drawn = figure.locator("svg use, svg [id*=FillBetween] path, svg [id*=PolyCollection] path").count()
        assert drawn > 0
    assert page.get_by_text("1,000", exact=True).count() > 0
    page.close()


def test_pages_of_both_packages_share_one_frame_that_is_text_only():
    """The harness reads the frame of mapush, and imports no code for it."""
    from pathlib import Path

    import mapush

    frame = Path(mapush.__file__).parent / "templates"
    assert sorted(path.suffix for path in frame.iterdir()) == [".css", ".html", ".html", ".js"]
    for package, template in (("mapush", "reports/report.html"), ("harness", "pages/check.html")):
        text = (frame.parent.parent / package / template).read_text()
        assert text.startswith('{% extends "frame.html" %}')
        assert "<style" not in text
    assert "mapush.reports" in sys.modules


def test_colours_of_figures_are_those_of_the_page():
    """Figures are drawn in colours that stand for variables of the page; both must agree."""
    from pathlib import Path

    import mapush
    from mapush.reports.figures import COLOURS

    style = (Path(mapush.__file__).parent / "templates" / "page.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    for name, colour in COLOURS.items():
        assert f"--{name}: {colour};" in light
        assert f"--{name}: #" in dark
