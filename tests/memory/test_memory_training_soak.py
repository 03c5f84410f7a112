"""Tests of `python -m harness memory`: what it trains, what it prints, how it exits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.__main__ import main as harness
from harness.memory.meters import MIB
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_ENOUGH
from harness.stack.training_soak import MemoryConfig, compare_with_prediction, main
from mapush.config import PushRunConfig, WalkRunConfig
from mapush.errors import CapacityError
from mapush.train import parse

pytestmark = pytest.mark.memory


class FakeSoak:
    """Stands for `soak_training`: records how it is called and returns a given report."""

    def __init__(self):
        self.calls = []
        self.report = SoakReport(kind=CLEAN)

    def __call__(self, config, minutes, iterations, trace):
        """Record the call."""
        self.calls.append((config, minutes, iterations, trace))
        return self.report


@pytest.fixture
def soaked():
    """A fake for `soak_training`."""
    return FakeSoak()


@pytest.mark.parametrize(
    "report, code",
    [
        (SoakReport(kind=CLEAN), 0),
        (SoakReport(kind=ENDS), 0),
        (SoakReport(kind=LEAK), 1),
        (SoakReport(kind=NOT_ENOUGH), 1),
        (SoakReport(kind=CLEAN, kept=["threads: 3 before the start, 4 after the close"]), 1),
    ],
    ids=["clean", "ends", "leak", "unknown", "kept"],
)
def test_exit_code_is_0_only_if_nothing_leaks_and_everything_is_released(soaked, capsys, report, code):
    """A run that cannot be judged is not a success, and the first line is the verdict."""
    soaked.report = report
    assert main([], soak_training=soaked) == code
    assert capsys.readouterr().out.startswith(f"memory: {report.kind}")


def test_settings_of_the_command_line_reach_the_run(soaked):
    """Task, sizes, simulator, limit and duration are those of the command line."""
    words = "walk --num-envs 12 --num-steps 3 --sim mujoco --vram-limit 8GiB --minutes 0.5 --iterations 9 --trace"
    assert main(words.split(), soak_training=soaked) == 0
    config, minutes, iterations, trace = soaked.calls[0]
    assert isinstance(config, WalkRunConfig)
    assert (config.num_envs, config.num_steps, config.sim.backend, config.vram_limit) == (12, 3, "mujoco", "8GiB")
    assert (minutes, iterations, trace) == (0.5, 9, True)


def test_sizes_are_the_presets_unless_given(soaked):
    """The published preset has 500 envs and rollouts of 200."""
    assert main(["tblock", "--preset", "published"], soak_training=soaked) == 0
    config = soaked.calls[0][0]
    assert isinstance(config, PushRunConfig)
    assert (config.task_name, config.num_envs, config.num_steps) == ("tblock", 500, 200)


def test_error_is_one_message_and_exit_code_2(capsys):
    """A run that does not fit is refused without a traceback."""

    def refuse(*args):
        raise CapacityError("too large", fix="--num-envs 7")

    assert main([], soak_training=refuse) == 2
    assert capsys.readouterr().err.startswith("CapacityError: too large")


@pytest.mark.parametrize(
    "words", ["--minutes -1", "--minutes nan", "--minutes inf", "--iterations 0", "--iterations -5"]
)
def test_soak_that_never_ends_is_refused(soaked, capsys, words):
    """An invalid time or number of iterations is an error that names the flag, before anything is trained."""
    assert main(words.split(), soak_training=soaked) == 2
    assert soaked.calls == []
    assert f"invalid {words.split()[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--iterations few", "--minuts 3", "--sim mujocco", "cuboid walk"])
def test_command_line_that_cannot_be_parsed_exits_with_2(capsys, words):
    """The parser refuses wrong values and unknown flags."""
    with pytest.raises(SystemExit) as exit_:
        harness(["memory"] + words.split())
    assert exit_.value.code == 2


@pytest.mark.parametrize("words, meant", [("cubiod", "cuboid"), ("--preset publishd", "published")])
def test_unknown_name_is_refused_with_the_nearest(soaked, capsys, words, meant):
    """A mistyped task or preset is an error that names the right one."""
    assert main(words.split(), soak_training=soaked) == 2
    assert soaked.calls == []
    assert f"did you mean {meant!r}" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/report"])
def test_report_that_cannot_be_written_is_refused_before_the_soak(soaked, capsys, tmp_path, place):
    """A file in the place of the report's folder is reported before the soak, in one message."""
    (tmp_path / "file").write_text("")
    assert main(["--report", str(tmp_path / place)], soak_training=soaked) == 2
    assert soaked.calls == []
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: ")
    assert str(tmp_path / place) in error


def test_report_is_written_into_a_folder_that_is_made(soaked, tmp_path):
    """The folder is made with its parents, and holds nothing but the report."""
    pytest.importorskip("matplotlib")
    folder = tmp_path / "new" / "report"
    assert main(["--report", str(folder)], soak_training=soaked) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["soak.html", "soak.json", "soak.png"]


@pytest.mark.parametrize("peak, ok", [(1000, True), (1100, True), (1101, False), (500, True)])
def test_peak_above_the_prediction_by_a_tenth_is_too_much(peak, ok):
    """The peak is noted in any case; more than a tenth above the prediction makes the report fail."""
    report = SoakReport(kind=CLEAN, peaks={"driver": float(peak * MIB)})
    compare_with_prediction(report, 1000 * MIB)
    assert report.ok == ok
    assert "peak of the driver" in report.notes[0]
    assert f"{peak / 1000 - 1:+.1%}" in report.notes[0]


def test_blind_driver_is_compared_with_nothing():
    """Without a peak there is nothing to note."""
    report = SoakReport(kind=NOT_ENOUGH, peaks={"driver": None})
    compare_with_prediction(report, 1000 * MIB)
    assert report.notes == report.kept == []


def test_several_ranks_train_what_the_command_line_asks_for():
    """The words for `mapush train` mean the same there, and the number of ranks is passed on."""
    words = MemoryConfig("tblock", "quick", gpus="3", num_envs=12, num_steps=5, sim="mujoco").training()
    config, _, _ = parse(words)
    assert (config.task_name, config.preset, config.num_envs, config.num_steps) == ("tblock", "quick", 12, 5)
    assert config.sim.backend == "mujoco"
    assert words[words.index("--gpus") + 1] == "3"


@pytest.mark.parametrize(
    "words, phrase",
    [
        ("--gpus 2 --trace", "--trace looks into one process only"),
        ("--gpus 2 --minutes 0", "several ranks are soaked by time"),
    ],
)
def test_what_several_ranks_cannot_have_is_refused(capsys, words, phrase):
    """Nothing is started."""
    assert main(words.split()) == 2
    assert phrase in capsys.readouterr().err


@pytest.mark.slow
def test_each_rank_has_a_verdict():
    """Two ranks train on the CPU for as long as a verdict needs."""
    words = ["cuboid", "--gpus", "2", "--num-envs", "8", "--num-steps", "4", "--sim", "mujoco", "--minutes", "1.5"]
    command = [sys.executable, "-m", "harness", "memory", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "rank 0: clean; rank 1: clean" in ended.stderr


def test_report_shows_what_a_reader_needs():
    """The verdict with its owner comes first, then reason, owners, what was kept, buffers, blind meters and notes."""
    report = SoakReport(
        kind=LEAK,
        why="heap: leak",
        owners=["logger logger.rows: +3.00 MiB"],
        kept=["threads: 3 threads before the start, 4 threads after the close"],
        buffers={"contacts": (12.34, 48.0)},
        blind={"driver": "no permission"},
        notes=["500 envs of cuboid on warp (an H100)"],
    )
    rows = str(report).splitlines()
    assert rows[0] == "memory: leak of logger logger.rows: +3.00 MiB"
    assert "  buffer    contacts: 12.3 of 48" in rows
    assert "  blind     driver: no permission" in rows
    assert [row.split()[0] for row in rows[1:]] == "why owner kept buffer blind note sampling".split()
