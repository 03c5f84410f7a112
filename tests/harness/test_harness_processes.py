"""Tests of what must not depend on a process: seeds, in real new processes, and of what a process keeps."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from wrapped import SHORT, report_of

from harness.contracts import fresh_process, made_and_closed
from harness.contracts.comparison import Difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.fresh_process import Failed, Surroundings, call_fresh
from harness.contracts.made_and_closed import Kept, is_steady, require_nothing_kept
from harness.contracts.other_process import _Divergence
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness


def make_hashed(num_envs=5, seed=0):
    """Make a toy whose starts depend on the hash of a text."""
    return make_pointmass(num_envs, 2, hash(f"starts {seed}") % 2**31)


def make_in_folder(num_envs=5, seed=0):
    """Make a toy that needs a file of the current folder."""
    assert (Path.cwd() / "needed.txt").is_file(), "needed.txt is missing"
    return make_pointmass(num_envs, 2, seed)


def make_here_only(num_envs=5, seed=0):
    """Make a toy in the process of the tests only."""
    assert os.environ.get("PYTHONHASHSEED") != "1", "not in this process"
    return make_pointmass(num_envs, 2, seed)


class Registered(PointMass):
    """The toy, entered in a list of its class."""

    made: list = []

    def __init__(self, num_envs, seed):
        super().__init__(num_envs, 2, seed, 20)
        self.made.append(self)


def make_registered(num_envs=5, seed=0):
    """Make a toy that its class keeps."""
    return Registered(num_envs, seed)


def surroundings():
    """Return what a process sees of its surroundings."""
    return os.environ["PYTHONHASHSEED"], os.environ["OMP_NUM_THREADS"], os.getcwd(), hash("a text")


def fail():
    """Raise."""
    raise ValueError("never again")


def test_fresh_process_has_the_surroundings_that_were_asked_for(tmp_path):
    """Hash seed, threads and folder are those of `Surroundings`, and the hash seed really changes hashes."""
    around = Surroundings(hash_seed=5, threads=3, folder=str(tmp_path))
    hash_seed, threads, folder, hashed = call_fresh(surroundings, around=around, expected_s=1.0)
    assert (hash_seed, threads, folder) == ("5", "3", os.path.realpath(tmp_path))
    again = call_fresh(surroundings, around=around._replace(folder=None), expected_s=1.0)
    assert again == ("5", "3", os.getcwd(), hashed)
    assert call_fresh(surroundings, around=around._replace(hash_seed=6), expected_s=1.0)[3] != hashed


def test_fresh_process_that_raises_is_a_failure():
    """The message says what the function raised."""
    with pytest.raises(Failed, match="ValueError"):
        call_fresh(fail, around=Surroundings(), expected_s=1.0)


def test_what_cannot_be_told_to_a_process_is_not_judged(monkeypatch):
    """A function without a name, a part of the running script, or a system without processes."""
    for function, words in ((lambda: 3, "pickling it raises"), (Named(), "part of the running script")):
        with pytest.raises(NotJudgedError, match=words):
            call_fresh(function, around=Surroundings(), expected_s=1.0)
    monkeypatch.setattr(fresh_process, "can_isolate", lambda: False)
    with pytest.raises(NotJudgedError, match="starts no process"):
        call_fresh(surroundings, around=Surroundings(), expected_s=1.0)


class Named:
    """Something whose bytes name the running script."""

    def __reduce__(self):
        """Return what makes it again."""
        return str, ("__main__",)


def test_seed_that_holds_in_a_process_only_is_found_with_its_cause():
    """The finding says in which respect the processes differ."""
    report = report_of(make_hashed, contracts=["same-seed", "other-process"])
    assert report.passed == ["same-seed"]
    (finding,) = report.findings
    assert finding.what == "the same seed gives a different run in another process: the starts differ"
    assert "PYTHONHASHSEED" in finding.cause


def test_factory_that_needs_its_folder_is_judged_in_it(tmp_path, monkeypatch):
    """A file of the current folder is no defect; if it builds in no other process, nothing is judged."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needed.txt").write_text("")
    assert report_of(make_in_folder, contracts=["other-process"]).passed == ["other-process"]
    report = report_of(make_here_only, contracts=["other-process"])
    assert report.not_judged["other-process"].startswith("the factory cannot be built in a new process")


def test_processes_without_time_are_not_judged():
    """The reason names a budget that would do."""
    report = report_of(make_pointmass, contracts=["other-process", "made-and-closed"], budget_s=1.0, effort=SHORT)
    for reason in report.not_judged.values():
        assert "would do" in reason or "no time" in reason
    assert not report.passed


@pytest.mark.parametrize(
    "field, values, rounding",
    [("obs", (2.0, 2.0001), True), ("obs", (2.0, 2.001), False), ("dones", (False, True), False)],
)
def test_rounding_is_told_from_another_run(field, values, rounding):
    """A difference of a ten-thousandth may come from the order of a sum; an end that is missing does not."""
    seen = []
    for value in values:
        obs, dones = np.zeros((5, 2, 4)), np.zeros((5, 2), bool)
        if field == "obs":
            obs[3, 1, 2] = value
        else:
            dones[3, 1] = value
        seen.append(Seen(obs, obs, dones=dones))
    place = (3, 1, 2)[: seen[0].dones.ndim + (field == "obs")]
    found = _Divergence(4, Difference(field, place), *seen)
    assert found.is_rounding == rounding


def test_registry_that_keeps_environments_is_found_and_named():
    """The finding names the list, in its class."""
    report = report_of(make_registered, contracts=["made-and-closed"])
    (finding,) = report.findings
    assert finding.what == "environments that were closed are kept"
    assert finding.where.endswith("test_harness_processes.Registered.made")


def test_clean_toy_leaves_nothing():
    """A toy that nobody keeps is gone, and its seed means the same everywhere."""
    report = report_of(make_pointmass, contracts=["other-process", "made-and-closed"])
    assert report.passed == ["other-process", "made-and-closed"], report


@pytest.mark.parametrize(
    "growth, least, steady",
    [([1, 1, 1, 1], 1, True), ([1, 0, 1, 1], 1, False), ([8, 5, 4, 4], 1, True), ([9, 5, 4, 4], 1, False)],
)
def test_growth_is_steady_if_it_does_not_slow_down(growth, least, steady):
    """What stops, or fills up, is no leak."""
    assert is_steady(np.array(growth), least) == steady


def kept(objects=(), num_bytes=(0, 0, 0, 0, 0)):
    """Return what is alive after five environments; `objects` are those of the class `a.B`."""
    counts = [{"a.B": count} for count in objects or (2, 2, 2, 2, 2)]
    return Kept(counts, list(num_bytes), "a.Env", None, "allocated at here.py:3")


def test_objects_and_bytes_count_each_for_itself():
    """Objects of any class, or bytes without objects, are found; a few bytes are not."""
    assert require_nothing_kept(kept()) is None
    assert require_nothing_kept(kept(num_bytes=range(0, 5 * 255, 255))) is None
    with pytest.raises(ContractError, match="leaves objects of class a.B"):
        require_nothing_kept(kept(objects=(2, 3, 4, 5, 6)))
    with pytest.raises(ContractError, match="leaves 300 bytes") as caught:
        require_nothing_kept(kept(num_bytes=range(0, 1500, 300)))
    assert caught.value.where == "allocated at here.py:3"


@pytest.mark.slow
def test_counting_sees_no_growth_of_its_own():
    """What the count itself allocates is left out."""
    subject = EnvUnderTest(make_pointmass)
    counted = made_and_closed.count_what_stays(subject.recipe(), subject.sizes, 0, 3)
    assert len(counted.num_bytes) == made_and_closed.COUNTED
    assert np.ptp(counted.num_bytes[1:]) < made_and_closed.MIN_BYTES
