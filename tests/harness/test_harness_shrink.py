"""Tests of the shortest sequence of actions: it still shows the defect, and nothing in it is superfluous."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.shrink import broken_by, shorten, shortest
from harness.findings import Finding, in_words
from harness.interface.sequence import pack, unpack
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

REST = np.array([0.0, 0.0, 0.25], np.float32)
FINDING = Finding("finite", "obs holds infinity")


def random_actions(steps=40):
    """Return actions (T, 5, 2, 3), none of which is neutral."""
    return np.random.default_rng(3).uniform(1.0, 5.0, (steps, 5, 2, 3)).astype(np.float32)


class Overflowing(PointMass):
    """Has an infinite observation after the third large action of one robot."""

    large = 0

    def step(self, actions):
        """Move, and count large actions."""
        returned = super().step(actions)
        self.large += bool(actions[2, 1, 0] > 3.0)
        if self.large >= 3:
            returned[0][2, 1, 3] = np.inf
        return returned


@pytest.fixture
def subject():
    """Return a factory under test whose environments break after three large actions."""

    def make_env(num_envs=5, seed=0):
        env = make_pointmass(num_envs, seed=seed)
        env.__class__ = Overflowing
        return env

    return EnvUnderTest(make_env, seed=11)


@pytest.mark.parametrize("needed", [(39,), (12, 30), (3, 4, 39)])
def test_shortest_keeps_the_steps_and_the_entries_that_matter(needed):
    """Of forty steps, only the needed ones remain, in order, with only the needed actions."""
    actions = random_actions()
    values = actions[list(needed), 4, 1, 2]

    def shows(candidate):
        remaining = candidate[:, 4, 1, 2].tolist()
        for value in values.tolist():
            if value not in remaining:
                return False
            remaining = remaining[remaining.index(value) + 1 :]
        return True

    found = shortest(actions, shows, REST)
    assert found[:, 4, 1, 2].tolist() == values.tolist()
    others = np.delete(found.reshape(len(needed), 30), 4 * 6 + 3 + 2, axis=1)
    assert set(others.ravel().tolist()) <= {0.0, 0.25}


def test_shortest_of_a_fault_of_the_clock_is_at_rest():
    """If only the number of steps matters, no action remains."""
    found = shortest(random_actions(), lambda candidate: len(candidate) >= 17, REST)
    assert found.shape == (17, 5, 2, 3)
    assert (found == REST).all()


def test_shortest_where_all_matters_is_what_was_given():
    """Nothing is left out if everything is needed."""
    actions = random_actions()
    assert np.array_equal(shortest(actions, lambda candidate: np.array_equal(candidate, actions), REST), actions)


def test_shorten_gives_a_sequence_that_breaks_the_contract(subject):
    """The sequence breaks the contract by itself when it is played in a new environment."""
    (found,) = shorten(subject, [dataclasses.replace(FINDING, actions=list(random_actions()))])
    actions = unpack(found.actions)
    assert len(actions) == 3
    assert np.argwhere(np.stack(actions)).tolist() == [[step, 2, 1, 0] for step in range(3)]
    assert set(broken_by(subject, actions)) >= {"finite"}
    assert not broken_by(subject, actions[:2])


@pytest.mark.parametrize(
    "actions, what",
    [
        (None, "obs holds infinity"),
        (list(random_actions(2)), "obs holds infinity"),  # too few to break anything
        (list(random_actions()), "rewards holds infinity"),  # a different defect of the same contract
    ],
)
def test_shorten_drops_what_does_not_show_it(subject, actions, what):
    """A finding whose actions do not show it loses them."""
    (found,) = shorten(subject, [dataclasses.replace(FINDING, what=what, actions=actions)])
    assert found.actions is None


def test_shorten_out_of_time_or_of_space_drops_the_actions(subject):
    """Actions are dropped if there is no time to try them, or if they are too many for a file."""
    finding = dataclasses.replace(FINDING, actions=list(random_actions()))
    assert shorten(subject, [finding], share=0.0)[0].actions is None
    assert shorten(subject, [finding], max_numbers=40 * 30 - 1)[0].actions is None
    assert shorten(subject, [finding], max_numbers=40 * 30)[0].actions is not None


def test_broken_by_builds_the_sizes_of_the_actions(subject):
    """A sequence that was found with unusual sizes is played with these sizes."""
    wide = np.full((7, 2, 3), 4.0, np.float32)
    assert "finite" in broken_by(subject, [wide] * 3)


def test_packed_sequence_is_exact_in_a_file():
    """Numbers of 32 bits survive JSON exactly, and repeated actions are stored once."""
    actions = [*random_actions(3), *[np.zeros((5, 2, 3), np.float32)] * 500]
    packed = json.loads(json.dumps(pack(actions)))
    assert [count for count, _ in packed] == [1, 1, 1, 500]
    assert np.array_equal(np.stack(unpack(packed)).astype(np.float32), np.stack(actions))
    assert json.dumps(pack([np.full((1, 1, 1), 0.1, np.float32)])) == "[[1, [[[0.1]]]]]"


@pytest.mark.parametrize(
    "last, words",
    [
        ([[0.0, 0.0], [0.0, 0.5]], "4 steps after a reset; in the last step 0.5 for env 0, agent 1, entry 1"),
        ([[0.0, 0.0], [0.0, 0.0]], "4 steps after a reset; no action is needed"),
        ([[1.0, 2.0], [3.0, 4.0]], "4 steps after a reset; the last step has 4 nonzero actions"),
    ],
)
def test_sequence_in_words_says_how_long_and_what_last(last, words):
    """One line describes how to break the contract."""
    assert in_words([[3, [[[0.0, 0.0], [0.0, 0.0]]]], [1, [last]]]) == words
