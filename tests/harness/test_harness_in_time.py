"""A check tells what it finds at once, ends when its time is up, and reports a call that hangs."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from wrapped import factory, report_of

from harness.checking import onlooker
from harness.checking.check import check
from harness.checking.onlooker import Onlooker, Teller
from harness.contracts import long_run
from harness.contracts.enough import NEEDS
from harness.contracts.long_run import RUNGS, LongRunPlan, drive_far
from harness.contracts.registry import CONTRACTS, _play_long_run
from harness.findings import NO_TIME, Finding
from harness.process import pulse
from harness.process.pulse import BUILD, STEP, CallState, StallWatch
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

HANGS_AT = 23


class Waiting(PointMass):
    """Clips in place, and waits for ever in a step."""

    steps = 0

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        self.steps += 1
        if self.steps == HANGS_AT:
            time.sleep(3600.0)
        np.clip(actions, -0.5, 0.5, out=actions)
        return super().step(actions)


def make_waiting(num_envs: int = 5, seed: int = 0) -> Any:
    """Return an environment that hangs."""
    env = make_pointmass(num_envs, seed=seed)
    env.__class__ = Waiting
    return env


class Slow(PointMass):
    """Takes a tenth of a second for a step."""

    def step(self, actions: np.ndarray) -> Any:  # noqa: D102
        time.sleep(0.1)
        return super().step(actions)


def make_slow(num_envs: int = 5, seed: int = 0) -> Any:
    """Return an environment with slow steps."""
    env = make_pointmass(num_envs, seed=seed)
    env.__class__ = Slow
    return env


@pytest.mark.parametrize("one_per_process", [False, True])
def test_hanging_step_is_a_finding_and_what_was_found_before_is_kept(
    one_per_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding of a step is told at once; the hang is told long before the budget is used up."""
    monkeypatch.setattr(pulse, "IDLE_S", 1.5)
    told: List[str] = []
    wanted = ["spaces", "actions-untouched", "same-seed"]
    report = check(
        "test_harness_in_time:make_waiting",
        contracts=wanted,
        budget_s=900.0,
        show=told.append,
        one_per_process=one_per_process,
    )
    hang = report.findings[0]
    assert hang.what.startswith("the environment hangs: step has not returned for")
    assert "test_harness_in_time.py" in str(hang.where)
    assert "actions-untouched" in [finding.contract for finding in report.findings]
    assert report.passed == ["spaces"]
    assert any("actions-untouched: " in line for line in told)
    assert report.seconds < 300.0


def test_check_ends_soon_after_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of a minute ends within 75 s, of which some go by until all processes have ended."""
    now = [1000.0]
    monkeypatch.setattr(onlooker.time, "monotonic", lambda: now[0])
    short, long = Onlooker(Path("nowhere"), 60.0, print), Onlooker(Path("nowhere"), 300.0, print)
    for seconds, short_ends, long_ends in ((67.0, False, False), (69.0, True, False), (331.0, True, True)):
        now[0] = 1000.0 + seconds
        assert (short() == "time") is short_ends
        assert (long() == "time") is long_ends


def test_onlooker_reports_what_was_told(tmp_path: Path) -> None:
    """Findings, verdicts and reasons are kept; a finding beats a verdict; the rest has the reason that is given."""
    shown: List[str] = []
    looking = Onlooker(tmp_path, None, shown.append)
    teller = Teller(looking.file)
    assert looking.running == "factory"
    teller.tell("began", "spaces")
    teller.tell("holds", "spaces")
    teller.tell("not judged", "horizon", "too short")
    teller.tell("holds", "infos")
    looking.look()
    teller.tell("began", "infos")
    teller.tell("found", "infos", Finding("infos", "no dict", actions=[1, 2]))
    report = looking.so_far(["spaces", "horizon", "infos", "close"], NO_TIME)
    assert [(finding.contract, finding.actions) for finding in report.findings] == [("infos", None)]
    assert report.passed == ["spaces"]
    assert report.not_judged == {"horizon": "too short", "close": NO_TIME}
    assert len(shown) == 1
    assert shown[0].endswith("infos: no dict")
    assert looking.running == "infos"


def test_onlooker_waits_for_an_event_that_is_half_written(tmp_path: Path) -> None:
    """An event is read when it is complete."""
    shown: List[str] = []
    looking = Onlooker(tmp_path, None, shown.append)
    Teller(looking.file).tell("found", "infos", Finding("infos", "no dict"))
    content = looking.file.read_bytes()
    looking.file.write_bytes(content[: len(content) // 2])
    looking.look()
    assert shown == []
    looking.file.write_bytes(content)
    looking.look()
    assert len(shown) == 1


def test_check_out_of_time_is_cut_off_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that goes on for too long is ended from outside."""
    monkeypatch.setattr(Onlooker, "__call__", lambda self: "time" if self.running == "step-form" else self.look())
    report = check("test_harness_in_time:make_slow", contracts=["spaces", "step-form", "close"], budget_s=600.0)
    assert report.findings == []
    assert report.not_judged["step-form"] == report.not_judged["close"] == NO_TIME
    assert "ended in step-form as the time was up; --budget 1200 gives it twice as much" in report.notes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """Replace the clock and the work of processes by lists that the test changes."""
    now = [100.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    "state, seconds, work, hangs",
    [
        (CallState(7, STEP, 2, 40, 100.0, 0.01), 29.0, 0.0, False),
        (CallState(7, STEP, 2, 40, 100.0, 0.01), 31.0, 0.0, True),
        (CallState(7, STEP, 2, 40, 100.0, 0.01), 31.0, 31.0, True),  # an endless loop
        (CallState(7, STEP, 2, 40, 100.0, 5.0), 31.0, 0.0, False),  # usually slow
        (CallState(7, STEP, 2, 40, 100.0, 5.0), 51.0, 0.0, True),
        (CallState(7, BUILD, 1, 0, 100.0, 0.0), 31.0, 31.0, False),  # compiles
        (CallState(7, BUILD, 1, 0, 100.0, 0.0), 31.0, 0.1, True),
        (CallState(7, BUILD, 1, 0, 100.0, 0.0), 121.0, 121.0, True),
        (CallState(7, pulse.NOTHING, 1, 0, 100.0, 0.0), 500.0, 0.0, False),
    ],
)
def test_call_hangs_after_half_a_minute_unless_it_works_for_the_first_time(
    state: CallState, seconds: float, work: float, hangs: bool, clock: List[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How busy the machine is makes no difference to a call that waits: it uses no processor time."""
    used = [3.0]
    monkeypatch.setattr(pulse, "_work", lambda pid: used[0])
    monkeypatch.setattr(CallState, "read", classmethod(lambda cls, path: state))
    watch = StallWatch(Path("nowhere"))
    assert watch.stalled() is None
    clock[0] += seconds
    used[0] += work
    assert (watch.stalled() is not None) is hangs


def test_pulse_tells_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds and steps are counted, and the slowest step is known."""
    path = tmp_path / "pulse"
    assert CallState.read(path) == CallState()
    monkeypatch.setattr(pulse, "_writer", None)
    pulse.write_to(path)
    report_of(make_pointmass, contracts=["spaces"])
    assert CallState.read(path).builds > 1
    with pulse.during(STEP):
        assert CallState.read(path).call == STEP
    assert CallState.read(path).calls > 0
    assert CallState.read(path).slowest > 0.0
    with pulse.during(BUILD):
        assert CallState.read(path).calls == 0


# -- a number of steps that does not depend on the load ----------------------------------------------------------


class Timed:
    """A player of which each step takes a fixed time."""

    def __init__(self, clock: List[float], step_s: float, ends_at: int) -> None:
        self.clock, self.step_s, self.ends_at = clock, step_s, ends_at
        self.step_count = 0
        self.seen: List[Any] = [None]

    def step(self, actions: Any) -> None:  # noqa: D102
        self.clock[0] += self.step_s
        self.step_count += 1
        self.seen.append(type("Seen", (), {"ended": np.array([self.step_count == self.ends_at])}))


@pytest.mark.parametrize(
    "step_s, is_for_forms, ends_at, steps",
    [
        (0.01, False, 0, 1100),
        (0.02, False, 0, 1100),  # 22 s: more than its share of 12 s, but less than twice
        (0.03, False, 0, 512),  # a rung above 400
        (0.04, False, 0, 384),
        (0.01, True, 40, 500),  # 5 s, and it has seen an end
        (0.01, True, 0, 1100),
        (0.03, True, 0, 192),
    ],
)
def test_long_run_takes_its_usual_steps_or_those_of_a_rung(
    step_s: float, is_for_forms: bool, ends_at: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is a little busier takes the same number of steps."""
    now = [0.0]
    monkeypatch.setattr(long_run.time, "perf_counter", lambda: now[0])
    player: Any = Timed(now, step_s, ends_at)
    plan = LongRunPlan(1100, 12.0, 24.0, is_for_forms, lambda: False)
    drive_far(player, lambda seen: None, plan)
    assert player.step_count == pytest.approx(steps, abs=1)
    assert steps in RUNGS or steps in (1100, 500)


def test_forms_end_as_soon_as_all_of_them_are_broken() -> None:
    """With another contract beside them, the run goes on."""

    def without_infos(env: Any, result: List[Any]) -> None:
        result[4] = [{} for _ in result[4]]

    for contracts, steps in ((["infos"], 1), (["infos", "horizon"], 90)):
        report = report_of(factory(result=without_infos), contracts=contracts)
        assert "infos" in [finding.contract for finding in report.findings]
        assert any(note.startswith(f"long run: {steps} steps") for note in report.notes), report.notes


# -- enough, or not judged ---------------------------------------------------------------------------------------


def test_every_contract_of_the_long_run_states_what_it_must_have_seen() -> None:
    """A contract that looks at nothing but the long run holds only if that run was long enough."""
    assert {known.name for known in CONTRACTS.values() if known.check is _play_long_run} <= set(NEEDS)


@pytest.mark.parametrize("contract", sorted(name for name, needs in NEEDS.items() if needs.ends))
def test_contract_is_not_judged_if_no_episode_ended(contract: str) -> None:
    """It holds if one did."""

    def without_ends(env: Any, result: List[Any]) -> None:
        result[3] = np.zeros_like(result[3])

    endless = report_of(factory(result=without_ends), contracts=[contract])
    assert endless.passed == []
    assert "0 episodes that ended in 90 steps" in endless.not_judged[contract]
    assert report_of(factory(), contracts=[contract]).passed == [contract]


WRITES_WITHOUT_END = """
import sys
from pathlib import Path
from harness.process import pulse

pulse.write_to(Path(sys.argv[1]))
while True:
    with pulse.during(pulse.STEP):
        pass
"""


def test_pulse_is_never_read_half_written(tmp_path: Path) -> None:
    """A call that is being written does not seem to have begun when the machine started."""
    path = tmp_path / "pulse"
    writer = subprocess.Popen([sys.executable, "-c", WRITES_WITHOUT_END, str(path)])
    try:
        while CallState.read(path).calls < 10:
            assert writer.poll() is None
            time.sleep(0.01)
        for _ in range(100_000):
            state = CallState.read(path)
            assert state.call == pulse.NOTHING or state.since > 0.0
    finally:
        writer.kill()
        writer.wait()
