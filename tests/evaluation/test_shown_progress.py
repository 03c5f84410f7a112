"""Contracts of the progress of evaluation: no command is silent, and what it says is true."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pseudo_terminals import Terminal, run_in_terminal
from test_evaluate_calculator import NUM_ENVS, ScriptedAgent, ScriptedEnv
from test_report_training import make_run
from walkers import untrained_walker

from mapush.config import SimConfig
from mapush.evaluation import walking_trials
from mapush.evaluation.acceptance import run_trials
from mapush.evaluation.episode import Episode
from mapush.evaluation.play import first_episodes, label_of, progress_for
from mapush.evaluation.walking_course import Course, CourseSetup
from mapush.report import report
from mapush.run.shown_progress import LINE_EVERY_S, ShownProgress, SilentProgress
from mapush.sim.physics import STEP_DT
from mapush.viewer.films.recording import Recording
from mapush.viewer.scoreboard import Scoreboard

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


class KeptProgress(SilentProgress):
    """Keeps what it is told."""

    due = True

    def __init__(self) -> None:
        self.stages, self.updates, self.ends = [], [], []

    def stage(self, name, total=None, unit="") -> None:
        """Keep a stage."""
        self.stages.append(name)
        self.updates.append([])

    def update(self, done, note="", total=None) -> None:
        """Keep an update."""
        self.updates[-1].append((done, note, total))

    def finish(self, text) -> None:
        """Keep a line."""
        self.ends.append(text)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


# -- lines and bars --------------------------------------------------------------------------------------------------


def test_line_is_written_at_once_and_then_now_and_then():
    """In a pipe, a computation of ten minutes that reports every half second writes a line every ten seconds."""
    stream, clock = io.StringIO(), Clock()
    with ShownProgress(stream, clock=clock) as progress:
        progress.stage("playing", total=1200, unit="episodes")
        assert stream.getvalue() == "playing\n"
        written = [clock.now]
        for done in range(1200):
            clock.now += 0.5
            lines = stream.getvalue().count("\n")
            progress.update(done, f"success {done / 1200:.3f}")
            if stream.getvalue().count("\n") > lines:
                written.append(clock.now)
        progress.finish("playing: 1200 episodes")
    gaps = [after - before for before, after in zip(written, written[1:])]
    assert set(gaps) == {LINE_EVERY_S}
    lines = stream.getvalue().splitlines()
    assert lines[1] == "playing: 19 of 1,200 episodes, success 0.016, 10 s"
    assert lines[-1] == "playing: 1200 episodes, 600 s"


def test_stages_that_follow_one_another_quickly_share_a_line():
    """A report of twenty sections in a second is not twenty lines."""
    stream, clock = io.StringIO(), Clock()
    with ShownProgress(stream, clock=clock) as progress:
        for number in range(20):
            progress.stage(f"section {number}")
            clock.now += 0.05
        clock.now += 5.0
        progress.stage("the last section")
    assert stream.getvalue() == "section 0\nthe last section\n"


def test_update_is_due_a_few_times_a_second():
    """What costs time to find out, such as numbers on a GPU, is asked for only when it would be seen."""
    clock = Clock()
    progress = ShownProgress(io.StringIO(), clock=clock)
    progress.stage("playing")
    assert progress.due
    progress.update(1)
    assert not progress.due
    clock.now += 0.5
    assert progress.due
    assert not SilentProgress().due
    assert not ShownProgress(io.StringIO(), lines=False).due


def test_terminal_without_cursor_gets_lines(monkeypatch):
    """TERM=dumb cannot redraw a line."""
    monkeypatch.setenv("TERM", "dumb")
    with Terminal() as terminal:
        with ShownProgress(terminal.stream) as progress:
            progress.stage("playing")
        assert terminal.text() == "playing\r\n"


def test_bar_moves_while_a_long_computation_reports_nothing(monkeypatch):
    """In a terminal, a thread redraws the bar: loading torch, or drawing a figure, is not silence."""
    monkeypatch.setenv("TERM", "xterm")
    with Terminal() as terminal:
        with ShownProgress(terminal.stream) as progress:
            progress.stage("loading")
            time.sleep(2.0)
            chunks = terminal.chunks()
            progress.finish("loaded")
        text = terminal.text()
    assert len(chunks) >= 3
    assert "loading" in "".join(chunks)
    assert "loaded, 2 s" in text


def test_bar_shows_how_much_is_done_and_vanishes(monkeypatch):
    """What stays are the lines that were finished; numbers never wrap into markup."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with Terminal() as terminal:
        with ShownProgress(terminal.stream) as progress:
            progress.stage("run [1]", total=300, unit="episodes")
            progress.update(120, "success 0.975")
            time.sleep(0.6)
        text = terminal.text()
    assert "run [1]" in text
    assert "120 of 300 episodes" in text
    assert "success 0.975" in text
    assert "\x1b[?25h" in text  # the cursor is back


# -- what is reported ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("episodes", [NUM_ENVS, 2 * NUM_ENVS + 3])
def test_evaluation_reports_every_decision_and_the_success_rate_so_far(episodes):
    """Ended episodes and success rate are those of a recount; episodes that do not count are left out."""
    env, progress = ScriptedEnv(1), KeptProgress()
    progress.stage("playing")
    first_episodes(env, ScriptedAgent(), episodes, progress)
    [updates] = progress.updates
    assert len(updates) == len(env.log)
    shares = [len(range(env_id, episodes, NUM_ENVS)) for env_id in range(NUM_ENVS)]
    ended, won = [0] * NUM_ENVS, 0
    for number, ((done, outcome), (count, note, total)) in enumerate(zip(env.log, updates), start=1):
        for env_id in range(NUM_ENVS):
            if done[env_id] and ended[env_id] < shares[env_id]:
                ended[env_id] += 1
                won += int(outcome["success"][env_id])
        assert (count, total) == (sum(ended), episodes)
        expected = f"{number} decisions"
        if sum(ended):
            expected = f"success {won / sum(ended):.3f}"
        assert note == expected


def test_policies_are_numbered():
    """The label says which checkpoint of how many."""
    assert label_of(Path("run/step_7.pt"), 3, 10) == "checkpoint 3 of 10, step_7.pt"
    assert label_of(Path("run/step_7.pt"), 1, 1) == "step_7.pt"
    assert label_of(None, 1, 1) == "untrained weights"
    assert not isinstance(progress_for(""), ShownProgress)


def test_acceptance_reports_every_env_step_of_every_trial():
    """`evaluate walk` says which trial of how many, and how far it is."""
    progress = KeptProgress()
    setup = CourseSetup(untrained_walker(), SimConfig(threads=1), seed=0, scale=0.01, progress=progress)
    progress.stage("a trial")
    course = Course(setup, worlds=3)
    course.walk(0.14, walking_trials.constant(course, course.uniform(0.5, 3)))
    assert progress.updates == [[(step, "", 7) for step in range(round(0.14 / STEP_DT))]]


def test_trials_of_the_acceptance_are_numbered(monkeypatch):
    """Fifteen trials, each announced before it starts."""
    for name in ("command_grid", "kicks", "random_commands", "square_wave", "stand", "sustained_push", "box_push"):
        monkeypatch.setattr(walking_trials, name, lambda *_: None)
    progress = KeptProgress()
    runs = run_trials(CourseSetup(untrained_walker(), SimConfig(threads=1), 0, 0.01, progress))
    assert len(progress.stages) == len(runs) == 15
    for number, name in enumerate(progress.stages, start=1):
        assert name.startswith(f"trial {number} of 15, ")
    assert len(set(progress.stages)) == 15


class FrameByFrame:
    """A film that draws every frame."""

    def add(self, episode, lines_of) -> None:
        """Draw an episode."""
        for step in range(len(episode.frames)):
            lines_of(step)

    def close(self) -> None:
        """Do nothing."""


def test_recording_reports_every_frame(monkeypatch):
    """Drawing takes longer than playing where there is no GPU."""
    monkeypatch.setattr(Scoreboard, "lines", lambda *_: ())
    progress = KeptProgress()
    recording = Recording(FrameByFrame(), Path("film.mp4"), only_failures=False, at_once=True, progress=progress)
    recording.add(Episode(3, frames=[None] * 7), Scoreboard("cuboid"))
    assert progress.stages == ["drawing episode 3"]
    assert [done for done, _, _ in progress.updates[0]] == list(range(7))


def test_report_names_the_runs_and_counts_the_sections(tmp_path):
    """`mapush report` says what it reads and draws."""
    progress = KeptProgress()
    runs = [make_run(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))]
    report(runs, tmp_path / "page.html", progress)
    assert progress.stages == ["reading one", "reading two", "drawing the page"]
    assert [done for done, _, _ in progress.updates[-1]] == [0, 1, 2, 3]


# -- commands --------------------------------------------------------------------------------------------------------

COMMANDS = [
    ["evaluate", "--num-envs", "2"],
    ["evaluate", "--num-envs", "2", "--sim", "mujoco"],
    ["evaluate", "walk", "--sim", "mujoco"],
    ["evaluate", "--mode", "viewer", "--sim", "mujoco", "--record", "film.html"],
    ["report", "run"],
    ["replay", "nonfinite.pt"],
    ["size", "cuboid"],
    ["export", "cuboid", "policy.jit"],
]
HEAVY = ("torch", "mujoco", "matplotlib", "warp", "onnx")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_says_what_it_does_before_it_loads_anything_heavy(words, tmp_path):
    """The first line comes at once; loading torch takes seconds on a cold disk."""
    (tmp_path / "nonfinite.pt").write_bytes(b"x")
    code = f"""
import importlib, os, sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in {HEAVY}:
            print("LOADS", name, flush=True)
            os._exit(7)

sys.meta_path.insert(0, Guard())
importlib.import_module("mapush.{words[0]}").main({words[1:]})
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), capture_output=True, text=True)
    assert result.returncode == 7, result.stderr
    before = result.stdout.partition("LOADS")[0] + result.stderr
    assert before.strip()
    assert "Traceback" not in before


def test_command_in_a_terminal_is_never_silent_for_long(tmp_path):
    """From the first second to the last one, whatever it loads; the bound is generous, because machines are shared."""
    env = dict(os.environ, TERM="xterm", OMP_NUM_THREADS="1")
    command = [sys.executable, "-m", "mapush.evaluate", "--num-envs", "2", "--episodes", "3", "--sim", "mujoco"]
    code, text, gaps = run_in_terminal(command, env, tmp_path)
    assert code == 0, text
    assert max(gaps) < 15.0
    assert "cuboid.pt: 3 episodes, success" in text
