"""Probes a copy of HARL: which forms its runner's own `insert` and `eval` accept. Runs in a child process.

The runner is made without its constructor, which needs tables, folders and packages that do not matter here. It gets
real buffers of that HARL, and stand-ins for networks, logger and environment.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from harness.interface import harl_forms
from harness.interface.harl_forms import KEYS_OF_TRUNCATION, HarlForms

NUM_ENVS, NUM_AGENTS, NUM_STEPS = 5, 2, 4
OBS_DIM, SHARE_OBS_DIM, ACTION_DIM, HIDDEN, RECURRENT = 7, 9, 3, 6, 1

AVAILABLE: Dict[str, Callable[[], Any]] = {
    harl_forms.ONE_NONE_EACH: lambda: [None] * NUM_ENVS,
    harl_forms.PLAIN_NONE: lambda: None,
    harl_forms.NESTED_NONES: lambda: [[None] * NUM_AGENTS for _ in range(NUM_ENVS)],
    harl_forms.ARRAY_OF_NONES: lambda: np.array([[None] * NUM_AGENTS] * NUM_ENVS),
    harl_forms.ARRAY_OF_NUMBERS: lambda: np.ones((NUM_ENVS, NUM_AGENTS, ACTION_DIM), np.float32),
}


class LeastBox:
    """The least space that HARL reads; it recognises spaces by the name of their class.

    Args:
      size: numbers in it.
      bound: the largest of each.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, size: int, bound: float = np.inf) -> None:
        self.shape = (size,)
        self.low = np.full(size, -bound, np.float32)
        self.high = np.full(size, bound, np.float32)
        self._random = np.random.default_rng(size)

    def seed(self, seed: Any = None) -> None:
        """Seed `sample`."""
        self._random = np.random.default_rng(seed)

    def sample(self) -> np.ndarray:
        """Return numbers within the bounds."""
        limit = np.minimum(self.high, 1.0)
        return self._random.uniform(-limit, limit).astype(np.float32)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, LeastBox) and self.shape == other.shape and np.array_equal(self.high, other.high)

    def __hash__(self) -> int:
        return hash(self.shape)


LeastBox.__name__ = "Box"


def probe(path: str, name: str) -> HarlForms:
    """Return what the HARL in a folder accepts.

    Args:
      path: the folder that contains its package.
      name: which HARL it is, in words.
    """
    sys.path.insert(0, path)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        runner_class = importlib.import_module("harl.runners.on_policy_ha_runner").OnPolicyHARunner
        _require_the_usual_form(runner_class)
        in_training, in_evaluation = [], []
        for form, make in AVAILABLE.items():
            if _works(_insert, runner_class, make(), _infos({}, NUM_AGENTS)):
                in_training.append(form)
            if _works(_evaluate, runner_class, make()):
                in_evaluation.append(form)
        agent_0_is_enough = _works(_insert, runner_class, [None] * NUM_ENVS, _infos({}, 1))
        keys = tuple(key for key in KEYS_OF_TRUNCATION if _reads(runner_class, key))
    return HarlForms(name, tuple(in_training), tuple(in_evaluation), agent_0_is_enough, keys)


def _require_the_usual_form(runner_class: Any) -> None:
    """Let the error through if the runner does not even accept what every HARL accepts."""
    try:
        _insert(runner_class, [None] * NUM_ENVS, _infos({}, NUM_AGENTS))
    except Exception as error:
        raise RuntimeError(
            f"its OnPolicyHARunner.insert differs from upstream's: {type(error).__name__}: {error}"
        ) from error


def _works(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        function(*arguments)
    except Exception:
        return False
    return True


def _infos(info: Dict[str, Any], agents: int) -> List[Dict[int, Dict[str, Any]]]:
    infos = []
    for _ in range(NUM_ENVS):
        infos.append({agent: dict(info) for agent in range(agents)})
    return infos


def _reads(runner_class: Any, key: str) -> bool:
    """Return whether the runner marks a step as a time limit because of a key of its info."""
    try:
        runner = _insert(runner_class, [None] * NUM_ENVS, _infos({key: True}, NUM_AGENTS))
    except Exception:
        return False
    return bool((runner.critic_buffer.bad_masks[1] == 0.0).all())


def _insert(runner_class: Any, available: Any, infos: Any) -> Any:
    """Insert one step into the buffers of a new runner, which is returned."""
    runner = _runner(runner_class)
    runner.insert((*_step(), infos, available, *_of_networks()))
    return runner


def _step() -> Tuple[np.ndarray, ...]:
    """Return obs, share_obs, rewards and dones; one env has ended."""
    dones = np.zeros((NUM_ENVS, NUM_AGENTS), bool)
    dones[1] = True
    obs = np.zeros((NUM_ENVS, NUM_AGENTS, OBS_DIM), np.float32)
    share_obs = np.zeros((NUM_ENVS, NUM_AGENTS, SHARE_OBS_DIM), np.float32)
    return obs, share_obs, np.zeros((NUM_ENVS, NUM_AGENTS, 1), np.float32), dones


def _of_networks() -> Tuple[np.ndarray, ...]:
    """Return values, actions, log-probabilities, and the states of recurrent networks."""
    actions = np.zeros((NUM_ENVS, NUM_AGENTS, ACTION_DIM), np.float32)
    states = np.zeros((NUM_ENVS, NUM_AGENTS, RECURRENT, HIDDEN), np.float32)
    return np.zeros((NUM_ENVS, 1), np.float32), actions, actions.copy(), states, states[:, 0].copy()


def _runner(runner_class: Any) -> Any:
    actor_buffer = importlib.import_module("harl.common.buffers.on_policy_actor_buffer").OnPolicyActorBuffer
    critic_buffer = importlib.import_module("harl.common.buffers.on_policy_critic_buffer_ep").OnPolicyCriticBufferEP
    train = {"n_rollout_threads": NUM_ENVS, "episode_length": NUM_STEPS}
    evaluation = {"n_eval_rollout_threads": NUM_ENVS, "eval_episodes": 1}
    flat = dict(train, hidden_sizes=[HIDDEN, HIDDEN], recurrent_n=RECURRENT, gamma=0.9, gae_lambda=0.9)
    flat.update(use_gae=True, use_proper_time_limits=True)
    runner = object.__new__(runner_class)
    runner.args, runner.env_args = {"algo": "happo", "env": "probe"}, {"state_type": "EP"}
    runner.algo_args = {"train": train, "eval": evaluation, "render": {"use_render": False}}
    runner.state_type, runner.num_agents = "EP", NUM_AGENTS
    runner.recurrent_n, runner.rnn_hidden_size = RECURRENT, HIDDEN
    runner.critic_buffer = critic_buffer(flat, LeastBox(SHARE_OBS_DIM))
    runner.actor_buffer = []
    for _ in range(NUM_AGENTS):
        runner.actor_buffer.append(actor_buffer(flat, LeastBox(OBS_DIM), LeastBox(ACTION_DIM)))
    return runner


def _evaluate(runner_class: Any, available: Any) -> None:
    """Evaluate for one step, in which every env ends."""
    runner = _runner(runner_class)
    runner.logger = _Anything()
    runner.actor = [SimpleNamespace(act=_act) for _ in range(NUM_AGENTS)]
    runner.eval_envs = _OneStep(available)
    runner.eval()


class _Anything:
    """Accepts every call."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **named: None


class _OneStep:
    """An environment whose episodes last one step."""

    def __init__(self, available: Any) -> None:
        self._available = available

    def reset(self) -> Tuple[Any, ...]:
        obs, share_obs, _, _ = _step()
        return obs, share_obs, self._available

    def step(self, actions: np.ndarray) -> Tuple[Any, ...]:
        obs, share_obs, rewards, _ = _step()
        dones = np.ones((NUM_ENVS, NUM_AGENTS), bool)
        return obs, share_obs, rewards, dones, _infos({}, NUM_AGENTS), self._available


def _act(obs: np.ndarray, states: np.ndarray, masks: np.ndarray, available: Any, **_: Any) -> Tuple[Any, Any]:
    """Act as HARL's actors do: they compare an array with numbers, and refuse an array of objects."""
    torch = importlib.import_module("torch")
    if available is not None:
        torch.as_tensor(np.asarray(available))
    return torch.zeros((len(obs), ACTION_DIM)), torch.as_tensor(states)
