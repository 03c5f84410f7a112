"""Contracts of the console: compact rows that fit 80 columns, HARL's lines on request, and both kinds in a log file."""

from __future__ import annotations

import re
import sys

import pytest
from terminals import in_terminal

from mapush.config import PushRunConfig, RunConfig
from mapush.env.metrics import wilson_interval
from mapush.errors import ConfigError
from mapush.run.console_rows import IterationTable, harl_lines
from mapush.run.logger import RunLogger
from mapush.run.progress import clock_time, duration

pytestmark = pytest.mark.contracts

ROW = {
    "fps": 5644.2,
    "reward/total": -0.5,
    "episodes": 50.0,
    "episode/return": 40.25,
    "episode/success": 0.26,
    "episode/collision": 0.125,
    "train/approx_kl": 0.01234,
    "train/entropy": -1.5,
    "train/explained_variance": 0.93,
    "rss_mib": 612.4,
}
WIDEST = {
    "fps": 1_234_567.0,
    "reward/total": -0.5,
    "episodes": 10_000.0,
    "episode/return": -123_456.0,
    "episode/success": 1.0,
    "episode/collision": 0.0,
    "train/approx_kl": 1e21,
    "train/entropy": -12.34,
    "train/explained_variance": -123.45,
    "rss_mib": 123_456.0,
}


def table_of(row, step=1_500_000, total=100_000_000):
    """Return the header of a table and its row, by column."""
    header, line = IterationTable(total).lines(step, row)
    return header, line


def test_row_has_the_numbers_that_somebody_watches():
    """Steps, success with its interval, return, speed, time left, KL, entropy, explained variance, memory."""
    header, line = table_of(ROW)
    low, high = wilson_interval(13, 50)
    success = f"26% ({100 * low:.0f}-{100 * high:.0f})"
    assert header.split() == "steps success return steps/s ETA KL entropy expl.var memory".split()
    expected = ["1.50M", success, "40.25", "5,644", "4h50m", "0.0123", "-1.50", "0.93", "612M"]
    assert line.split() == " ".join(expected).split()


@pytest.mark.parametrize("row", [ROW, WIDEST])
def test_row_fits_80_columns_and_stands_under_its_header(row):
    """Header and row are equally long, at most 79 characters, and no two cells touch."""
    header, line = table_of(row, step=999_400, total=10**9)
    assert len(header) == len(line) <= 79
    assert len(line.replace("% (", "%(").split()) == len(header.split())


def test_columns_that_do_not_apply_are_left_out_and_missing_numbers_are_a_dash():
    """Walking has no success, HARL may have no KL; before the first episode the return is not known."""
    row = {name: value for name, value in ROW.items() if name not in ("episode/success", "train/approx_kl")}
    table = IterationTable(10_000)
    header, line = table.lines(1000, dict(row, **{"episode/return": float("nan")}))
    assert header.split() == "steps return steps/s ETA entropy expl.var memory".split()
    assert line.split()[1] == "-"
    del row["train/entropy"]
    _, line = table.lines(2000, row)
    assert line.split()[4] == "-"


def test_header_stands_above_every_twentieth_row():
    """Of 41 rows the first, the 21st and the 41st have a header."""
    table = IterationTable(10_000)
    headers = [table.lines(step, ROW)[0] for step in range(41)]
    assert [index for index, header in enumerate(headers) if header is not None] == [0, 20, 40]


@pytest.mark.parametrize(
    "steps, said",
    [(70, "70"), (999, "999"), (9996, "10.0k"), (999_400, "999k"), (999_600, "1.00M"), (12_345_678, "12.3M")],
)
def test_steps_have_three_digits_and_a_unit(steps, said):
    """A number that rounds up to the next unit gets it."""
    assert table_of(ROW, step=steps)[1].split()[0] == said


@pytest.mark.parametrize(
    "seconds, said",
    [(0.2, "1s"), (59.5, "1m00s"), (330, "5m30s"), (49_680, "13h48m"), (359_999, "99h59m"), (360_000, "4d04h")],
)
def test_clock_time_has_at_most_six_characters(seconds, said):
    """The time left fits its column, from seconds to days."""
    assert clock_time(seconds) == said


def test_duration_in_words():
    """49,680 s are 13 h 48 min."""
    assert (duration(49_680), duration(61)) == ("13 h 48 min", "2 min")


def test_console_is_compact_and_the_log_file_speaks_harls_format(tmp_path, capsys):
    """By default the console has one row; `train.log` has HARL's lines and everything that was said."""
    logger = RunLogger(tmp_path, PushRunConfig(total_steps=7000))
    logger.say("training cuboid")
    logger.log(2000, 2, ROW)
    logger.close()
    console = capsys.readouterr().out
    assert "Average step reward" not in console
    assert "2.00k" in console
    log = (tmp_path / "train.log").read_text().splitlines()
    assert log == ["training cuboid"] + harl_lines(PushRunConfig(total_steps=7000), 2000, 2, ROW)
    assert log[1].startswith("Env mapush Task cuboid Algo happo Exp default updates 2/7 episodes")


def test_console_harl_prints_only_harls_lines(tmp_path, capsys):
    """With `console` "harl" the console is what scripts for HARL parse."""
    config = PushRunConfig(total_steps=7000, console="harl")
    logger = RunLogger(tmp_path, config)
    logger.log(2000, 2, ROW)
    logger.close()
    assert capsys.readouterr().out.splitlines() == harl_lines(config, 2000, 2, ROW)


def test_console_unknown_format_is_refused():
    """A format that does not exist is refused with the closest one."""
    with pytest.raises(ConfigError, match="did you mean 'compact'"):
        RunConfig(console="compct")


def test_log_file_of_a_resumed_run_goes_on(tmp_path):
    """A resumed run appends to the log file, and counts its wall-clock time on."""
    times = iter([0.0, 40.0, 100.0, 107.0])
    for resume_from, step in ((0, 1000), (1000, 2000)):
        logger = RunLogger(tmp_path, PushRunConfig(total_steps=7000), resume_from, clock=lambda: next(times))
        logger.log(step, 1, ROW)
        logger.close()
    assert (tmp_path / "train.log").read_text().count("Average step reward") == 2
    header, *lines = (tmp_path / "progress.csv").read_text().splitlines()
    column = header.split(",").index("wall_s")
    assert [float(line.split(",")[column]) for line in lines] == [40.0, 47.0]


def test_log_of_a_run_made_before_there_was_a_wall_clock_goes_on(tmp_path):
    """A CSV of an older version has fewer columns; the run continues with those, and TensorBoard gets all."""
    (tmp_path / "progress.csv").write_text("step,iteration,fps\n1000,1,50.0\n")
    logger = RunLogger(tmp_path, PushRunConfig(total_steps=7000), 1000)
    logger.log(2000, 2, ROW)
    logger.close()
    assert (tmp_path / "progress.csv").read_text().splitlines()[1:] == ["1000,1,50.0", "2000,2,5644.2"]


PRINT_ROWS = """
import sys
from pathlib import Path
from mapush.config import PushRunConfig
from mapush.run.logger import RunLogger
WIDEST = {widest!r}
logger = RunLogger(Path(sys.argv[1]), PushRunConfig(total_steps=100_000_000, seed=3))
for index in range(3):
    logger.tick(1000)
    logger.report(index + 1_000_000, 1, 1_234_567.0, {{}}, {{}}, WIDEST)
logger.close()
"""


def test_terminal_of_80_columns_wraps_no_row(tmp_path):
    """Under a pseudo-terminal of 80 columns, no line is longer than the terminal, neither rows nor the bar."""
    code = PRINT_ROWS.format(widest=dict(WIDEST, **{"train/approx_kl": 0.04}))
    status, said = in_terminal([sys.executable, "-c", code, str(tmp_path)])
    assert status == 0, said
    lines = re.split(r"[\r\n]+", said)
    assert max(len(line) for line in lines) <= 80
    assert sum("1.00M" in line for line in lines) == 3
    assert any("cuboid seed 3" in line for line in lines)
