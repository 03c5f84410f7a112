"""Tests of tensors that remember how they were computed, in toys whose state is a tensor."""

from __future__ import annotations

import pytest
from wrapped import check, factory

pytestmark = pytest.mark.harness

torch = pytest.importorskip("torch")


def with_state(advance):
    """Return a factory of toys that keep a tensor; `advance(state, thrust)` returns the next one."""

    def result(env, returned):
        if "state" not in env.__dict__:
            env.thrust = torch.nn.Parameter(torch.ones(1))
            env.state = torch.zeros(3)
        env.state = advance(env.state, env.thrust)

    return factory(result=result)


def test_state_of_which_autograd_records_all_steps_is_found():
    """Every state remembers the one before."""
    found = check(with_state(lambda state, thrust: 0.9 * state + thrust), "bounded-statistics")
    assert found == "env.state remembers how it was computed, in all steps"


@pytest.mark.parametrize(
    "advance",
    [
        lambda state, thrust: (0.9 * state + thrust).detach(),
        lambda state, thrust: 0.9 * state.detach() + thrust,  # of one step only
        lambda state, thrust: 0.9 * state + 1.0,
    ],
)
def test_state_that_remembers_no_more_than_a_step_holds(advance):
    """A parameter may be there, and a gradient through one step."""
    assert check(with_state(advance), "bounded-statistics") == ""
