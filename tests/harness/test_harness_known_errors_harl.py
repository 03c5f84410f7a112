"""Contracts of the catalogue of known errors on HARL's own lines: its runner, buffers and tables fail for real."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from harness.causes.known_errors import explain
from harness.causes.symptom import Symptom

pytestmark = [pytest.mark.harness, pytest.mark.harl]

N, A, D, S, K, H = 5, 2, 8, 11, 3, 7


@pytest.fixture(scope="module")
def harl():
    """Load HARL as training does, and return its modules by name."""
    import importlib

    from mapush.upstream.harl.harl_source import load

    load()
    names = ("runners.on_policy_base_runner", "utils.configs_tools", "utils.envs_tools", "envs", "envs.env_wrappers")
    return {name: importlib.import_module(f"harl.{name}") for name in names}


def insert(harl, infos=None, available_actions=None, state_type="EP"):
    """Call the method of HARL's runner that stores a step, with this part of the step."""
    runner = harl["runners.on_policy_base_runner"].OnPolicyBaseRunner
    critic_shape = (N, 1, H) if state_type == "EP" else (N, A, 1, H)
    me = SimpleNamespace(
        algo_args={"train": {"n_rollout_threads": N}},
        num_agents=A,
        recurrent_n=1,
        rnn_hidden_size=H,
        state_type=state_type,
        critic_buffer=SimpleNamespace(rnn_states_critic=np.zeros((2, *critic_shape))),
        actor_buffer=[SimpleNamespace(insert=lambda *parts: None)] * A,
    )
    data = (
        np.zeros((N, A, D)),
        np.zeros((N, A, S)),
        np.zeros((N, A, 1)),
        np.zeros((N, A), bool),
        infos,
        available_actions,
        np.zeros((N, 1)),
        np.zeros((N, A, K)),
        np.zeros((N, A, 1)),
        np.zeros((N, A, 1, H)),
        np.zeros(critic_shape),
    )
    runner.insert(me, data)


GOOD = [{0: {}} for _ in range(N)]
FAILURES = {  # what fails, words of the cause
    "infos EP": (lambda harl: insert(harl, [{}] * N, [None] * N), "HARL looks for agent 0 in the info of an env"),
    "infos FP": (lambda harl: insert(harl, [{}] * N, [None] * N, "FP"), "HARL looks for agent 0 in the info of an env"),
    "masks None": (lambda harl: insert(harl, GOOD, None), "the environment returned None for available_actions"),
    "masks nested": (lambda harl: insert(harl, GOOD, [[None] * A] * N), "available_actions is a list of lists"),
    "task": (
        lambda harl: harl["utils.configs_tools"].get_task_name("mapush", {}),
        "get_task_name has no branch for the name of this environment, so `task` is never set",
    ),
    "action space": (
        lambda harl: harl["utils.envs_tools"].get_shape_from_act_space(object()),
        "HARL does not know this action space",
    ),
    "worker": (
        lambda harl: harl["envs.env_wrappers"].ShareSubprocVecEnv([lambda: 1 / 0] * 2),
        "a worker process of the environment has died",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_explain_failure_on_harls_own_line(harl, name):
    """The lines of the real runner and of the real tables are recognised."""
    fail, words = FAILURES[name]
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017
        fail(harl)
    cause = explain(Symptom.of_exception(caught.value))
    assert cause is not None, caught.value
    assert cause.cause.startswith(words)


def test_insert_of_a_good_step_raises_nothing(harl):
    """The call above fails because of what it is given, not because of how it is called."""
    with pytest.raises(AttributeError, match="insert"):
        insert(harl, GOOD, [None] * N)  # reaches the critic's buffer, which this test does not have


def test_explain_buffer_of_another_number_of_envs(harl):
    """HARL's actor buffer refuses the rows of another number of envs on its own line."""
    from harl.common.buffers.on_policy_actor_buffer import OnPolicyActorBuffer

    class Box:
        shape = (D,)

    args = {"episode_length": 13, "n_rollout_threads": N, "hidden_sizes": [H], "recurrent_n": 1}
    buffer = OnPolicyActorBuffer(args, Box(), Box())
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        buffer.insert(np.zeros((20, D)), np.zeros((20, 1, H)), np.zeros((20, D)), np.zeros((20, 1)), None)
    cause = explain(Symptom.of_exception(caught.value)).cause
    assert cause.startswith("the environment returned 20 rows where HARL was configured for 5")
