"""The contract that a seed means the same in every process.

The beginning of the long run is played again in two new processes, one after the other, with the same seed and the same
actions, but with different hashes, threads and folders. A difference as small as rounding may come from the number of
threads; it is a note. If there is a larger one, more processes that differ in one respect each tell which it is.
"""

from __future__ import annotations

import dataclasses
import tempfile
from typing import List, NamedTuple, Optional

import numpy as np

from harness.contracts.comparison import Difference, first_divergence
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import Recipe, close_quietly
from harness.contracts.fresh_process import START_S, Failed, Surroundings, call_fresh
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import StepErrors
from harness.interface.player import Player, Seen
from harness.interface.spaces import Sizes

MAX_STEPS = 150  # that are compared; episodes of usual toys end in them
SHARE = 0.2  # of the budget, for both processes
ROUNDING = 1e-4  # of a number, up to which a difference may come from the order of a sum
FIRST, SECOND = 1, 2  # hash seeds, and numbers of threads
SECOND_PROCESS = Surroundings(SECOND, SECOND, None)
CAUSES = {
    "hash_seed": "the order of a set or a hash of a text: Python draws new ones in every process (PYTHONHASHSEED)",
    "threads": "the number of threads (OMP_NUM_THREADS)",
    "folder": "the current folder",
}
FIXES = {
    "hash_seed": "sort what is iterated over; zlib.crc32 instead of hash",
    "threads": "give each thread its own generator, or draw before threads start",
    "folder": "seed with nothing but the seed; find files by the place of the module",
}


@contract("other-process")
def other_process(subject: EnvUnderTest) -> None:
    """The same seed gives the same trajectory in every process, whatever its hashes, threads, folder and time."""
    subject.require_same_again()
    with tempfile.TemporaryDirectory() as folder:
        _Comparison(subject, folder).judge()


def play_in_this_process(recipe: Recipe, sizes: Sizes, actions: List[np.ndarray]) -> List[Seen]:
    """Build an environment, reset it, take the actions (N, A, K), and return what is seen, without infos."""
    player = Player(recipe.build(), sizes, StepErrors())
    player.reset()
    for action in actions:
        player.step(action)
    close_quietly(player.env)
    return [dataclasses.replace(seen, infos=None) for seen in player.seen]


class _Divergence(NamedTuple):
    """Where the run of a new process first differs from a run before it."""

    step: int
    difference: Difference
    expected: Seen
    seen: Seen

    @property
    def is_rounding(self) -> bool:
        """Whether both values are nearly the same."""
        values = []
        for seen in (self.expected, self.seen):
            values.append(float(getattr(seen, self.difference.field)[self.difference.place]))
        scale = max(1.0, *map(abs, values))
        return self.difference.field != "dones" and abs(values[0] - values[1]) <= ROUNDING * scale


class _Comparison:
    """Runs in new processes, compared with the long run.

    Args:
      subject: the environment.
      folder: an empty folder.
    """

    def __init__(self, subject: EnvUnderTest, folder: str) -> None:
        self._subject = subject
        self._folder: Optional[str] = folder
        history = subject.long_run().seen
        self._steps = subject.steps(min(MAX_STEPS, len(history) - 1), runs=2, share=SHARE)
        self._original = history[: self._steps + 1]
        self._expected_s = START_S + subject.build_s + self._steps * subject.step_s
        subject.require_time_for(2 * self._expected_s, SHARE)

    def judge(self) -> None:
        """Raise if a run in a new process differs from the long run by more than rounding."""
        first = Surroundings(FIRST, FIRST, self._folder)
        for around in (first, SECOND_PROCESS):
            seen = self._play(around)
            found = self._divergence(self._original, seen)
            if found is None:
                continue
            if found.is_rounding:
                note = f"runs in different processes differ by rounding from step {found.step} on"
                self._subject.notes.append(note)
                return
            self._original = self._original[: found.step + 1]
            if around is first:
                respect = self._respect_of_first(seen)
            else:
                respect = self._respect_of_second()
            raise _error(found, respect)

    def _respect_of_first(self, first: List[Seen]) -> str:
        """Return the attribute of `Surroundings` in which the first process differs from this one; "" if in none."""
        expected = first[: len(self._original)]
        usual = Surroundings(FIRST, FIRST, None)
        if self._divergence(expected, self._play(usual)) is not None:
            if self._divergence(self._play(usual), self._play(usual)) is not None:
                return ""
            return "folder"
        if self._divergence(expected, self._play(usual._replace(hash_seed=SECOND))) is not None:
            return "hash_seed"
        return "threads"

    def _respect_of_second(self) -> str:
        """Return the attribute in which the second process differs from this one and the first; "" if in none."""
        if self._divergence(self._original, self._play(Surroundings(SECOND, FIRST, None))) is not None:
            return "hash_seed"
        if self._divergence(self._original, self._play(Surroundings(FIRST, SECOND, None))) is not None:
            return "threads"
        return ""

    def _play(self, around: Surroundings) -> List[Seen]:
        """Return the run of a new process; in the folder of this process if the factory needs that."""
        actions = [seen.actions for seen in self._original[1:]]
        work = (play_in_this_process, self._subject.recipe(), self._subject.sizes, actions)
        try:
            return call_fresh(*work, around=around, expected_s=self._expected_s)
        except Failed as failure:
            if around.folder is None:
                raise NotJudgedError(f"the factory cannot be built in a new process: {failure}") from failure
        self._folder = None
        return self._play(around._replace(folder=None))

    def _divergence(self, expected: List[Seen], seen: List[Seen]) -> Optional[_Divergence]:
        found = first_divergence(expected, seen)
        if found is None:
            return None
        step, difference = found
        return _Divergence(step, difference, expected[step], seen[step])


def _error(found: _Divergence, respect: str) -> ContractError:
    """Return the error for a difference that comes from an attribute of `Surroundings`, or "" from something else."""
    what = "the starts differ"
    if found.step > 0:
        what = f"the runs diverge at step {found.step}"
    return ContractError(
        f"the same seed gives a different run in another process: {what}",
        step=found.step,
        where=found.difference.where(),
        got=found.difference.value(found.seen),
        expected=found.difference.value(found.expected),
        cause=CAUSES.get(respect, "the time, the process id, or random bytes of the system"),
        fix=FIXES.get(respect, "draw from one generator made from the seed alone"),
    )
