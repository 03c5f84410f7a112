"""What PhysX's buffer of contact pairs would take, and whose line is named when it does not fit."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import NamedTuple

import pytest

from isaac_standin.physics import memory
from mapush.errors import CapacityError

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

GIB = 2**30


class Assigned(NamedTuple):
    """An assignment, as the parameters record it."""

    old: float
    new: float
    file: str
    line: int


CONFIGURED = Assigned(2**20, 2**23, "config.py", 11)
MULTIPLIED = Assigned(2**23, 5 * 2**23, "task.py", 44)

# Parameters that record who assigns to them, as those of the API do; and a program in three files.
PARAMETERS = """
import sys
from typing import NamedTuple

class Assigned(NamedTuple):
    old: float
    new: float
    file: str
    line: int

class PhysX:
    def __init__(self):
        self.__dict__.update(pairs=2**20, log=[])

    def __setattr__(self, name, value):
        caller = sys._getframe(1)
        self.log.append(Assigned(self.pairs, value, caller.f_code.co_filename, caller.f_lineno))
        self.__dict__[name] = value
"""
TASK = """
class Task:
    def __init__(self, physx):
        physx.pairs *= FACTOR
"""
PROGRAM = """
from isaac_standin.physics.memory import account
from parameters import PhysX
from task import Task

physx = PhysX()
physx.pairs = 2**23
Task(physx)
account(physx.pairs, physx.log, 8 * 2**30)
print("fits")
"""


def refusal(pairs, assignments, limit):
    """Return the error of a buffer that does not fit."""
    with pytest.raises(CapacityError) as caught:
        memory.account(pairs, assignments, limit)
    return caught.value


def run_program(folder, factor):
    """Run the program, whose task multiplies the buffer by a factor, in a process of its own."""
    (folder / "parameters.py").write_text(PARAMETERS)
    (folder / "task.py").write_text(TASK.replace("FACTOR", str(factor)))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "program.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_five_times_mqes_buffer_does_not_fit_in_8_gib_and_its_line_is_named(tmp_path):
    """The file and line that multiplied the buffer are in the message, not those that configured it."""
    ended = run_program(tmp_path, 5)
    assert ended.returncode == 1
    where = re.search(r"where +(.*)", ended.stderr).group(1)
    assert where == f"{tmp_path / 'task.py'}:4"


def test_mqes_own_buffer_fits_in_8_gib(tmp_path):
    """The size that MQE configures is known to run on a card of 8 GiB."""
    ended = run_program(tmp_path, 1)
    assert ended.stdout == "fits\n", ended.stderr


def test_the_sizes_are_those_of_the_recorded_run():
    """A run with MQE's buffer took 6,000 MiB, and five times as many pairs take four times that buffer more."""
    assert memory.physx_bytes(2**23) == 6000 * 2**20
    assert memory.physx_bytes(5 * 2**23) - memory.physx_bytes(2**23) == 4 * 2**23 * 256


def test_without_a_limit_nothing_is_judged():
    """A size that no card has is accepted if nobody asked."""
    memory.account(10**15, [MULTIPLIED], None)


def test_the_largest_value_of_the_fix_fits_and_one_more_does_not():
    """The fix names the exact limit of the estimate."""
    error = refusal(5 * 2**23, [CONFIGURED, MULTIPLIED], 8 * GIB)
    largest = int(re.search(r"= (\d+)", error.fix).group(1))
    memory.account(largest, [], 8 * GIB)
    refusal(largest + 1, [], 8 * GIB)


def test_a_larger_factor_that_still_fitted_is_not_blamed():
    """The configuration multiplies Isaac Gym's default by 8, the task by 5: the task exceeds the limit."""
    assert refusal(5 * 2**23, [CONFIGURED, MULTIPLIED], 8 * GIB).where == "task.py:44"
    assert refusal(5 * 2**23, [CONFIGURED, MULTIPLIED], 5 * GIB).where == "config.py:11"


def test_a_second_environment_that_multiplies_again_is_in_the_history():
    """All assignments are listed in order, each with its factor."""
    again = Assigned(5 * 2**23, 25 * 2**23, "task.py", 44)
    cause = refusal(25 * 2**23, [CONFIGURED, MULTIPLIED, again], 8 * GIB).cause
    assert re.findall(r"([a-z]+\.py:\d+) .*?, (\d+) times", cause) == [
        ("config.py:11", "8"),
        ("task.py:44", "5"),
        ("task.py:44", "5"),
    ]


def test_a_value_lowered_and_raised_again_blames_the_last_line_that_exceeded_the_limit():
    """Only the assignment that led to the final value counts."""
    lowered = Assigned(5 * 2**23, 2**22, "fix.py", 3)
    raised = Assigned(2**22, 3 * 2**23, "other.py", 7)
    assert refusal(3 * 2**23, [MULTIPLIED, lowered, raised], 8 * GIB).where == "other.py:7"


def test_a_limit_below_everything_blames_the_largest_factor():
    """If even the default is too large, the largest factor is named, and the fix does not propose a value."""
    error = refusal(5 * 2**23, [MULTIPLIED, CONFIGURED], 3 * GIB)
    assert error.where == "config.py:11"
    assert "no contact pair fits" in error.fix


def test_a_default_that_nobody_assigned_has_no_place():
    """Without an assignment the message says that the value is the default."""
    error = refusal(2**20, [], 4 * GIB)
    assert error.where is None
    assert "default" in error.cause
