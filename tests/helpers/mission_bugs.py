"""The bugs of an integration of HARL and MQE as small toys: the lines that fail read like those of the real code.

`python mission_bugs.py NAME` ends as the real program does. Each name is a function of this module; sizes are pairwise
different and none is 1: 5 envs, 2 agents, 8 observed numbers, 3 numbers in an action.
"""

from __future__ import annotations

import ctypes
import os
import sys
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import numpy as np

N, A, D, K = 5, 2, 8, 3
LOGGER_REGISTRY: Dict[str, Any] = {"smac": object}
ALGO_REGISTRY: Dict[str, Any] = {"happo": object}


def create_sim() -> None:
    """Read address 0 where the simulation is created."""
    ctypes.string_at(0)


def create_envs() -> None:
    """Read address 0 where robots are added to a simulation."""
    ctypes.string_at(0)


def physx_gives_up() -> None:
    """Say why, and abort."""
    print("+++ Using GPU PhysX")
    print("PhysX error: allocation of 10737418240 bytes failed", file=sys.stderr)
    os.abort()


class Transposed:
    """Hands [num_agents, num_envs, 3] to code that expects [num_envs, num_agents, 3]."""

    def step(self, actions: np.ndarray) -> Any:
        """Undo a transposition that nobody made."""
        import torch

        actions_t = torch.from_numpy(actions.transpose(1, 0, 2).copy())
        return Wrapper().step(actions_t)


class Wrapper:
    """Scales actions as MQE's wrapper does."""

    def step(self, action: Any) -> Any:
        """Scale the actions."""
        import torch

        self.action_scale = torch.ones(N, A, K)
        return action * self.action_scale

    def observe(self, obs: Any) -> Any:
        """Scale the observations by a number of wrong size, which has nothing to do with actions."""
        import torch

        return obs * torch.ones(N, A, D)


def transposed_actions() -> None:
    """Bug 4."""
    Transposed().step(np.zeros((N, A, K), np.float32))


def transposed_actions_in_numpy() -> None:
    """Bug 4, in numpy."""

    def step(actions: np.ndarray) -> Any:
        scale = np.ones((N, A, K))
        return actions * scale

    step(np.zeros((A, N, K)))


def other_observations() -> None:
    """Fail with the message of bug 4, but about observations."""
    import torch

    Wrapper().observe(torch.zeros(N, 4, D))


def action_of_another_width() -> None:
    """Fail with the message of bug 4, but at the last axis: nothing is swapped."""
    import torch

    Wrapper().step(torch.zeros(N, A, 4))


def insert(infos: List[Any], available_actions: Any) -> List[Any]:
    """Read infos and masks as HARL's runner does."""
    agent_id = 0
    bad_masks = [
        [0.0] if "bad_transition" in info[0].keys() and info[0]["bad_transition"] == True else [1.0]  # noqa: E712
        for info in infos
    ]
    masks = available_actions[:, agent_id] if available_actions[0] is not None else None
    return [bad_masks, masks]


def infos_without_key_0() -> None:
    """Bug 5."""
    insert([{} for _ in range(N)], [None] * N)


def key_0_of_something_else() -> None:
    """Fail with the message of bug 5 in a table of one's own."""
    scores: Dict[int, float] = {}
    print(scores[0])


def masks_none() -> None:
    """Bug 6."""
    insert([{0: {}} for _ in range(N)], None)


def masks_nested() -> None:
    """Bug 6, lists of lists."""
    insert([{0: {}} for _ in range(N)], [[None] * A] * N)


def rewards_without_axis() -> None:
    """Write rewards of shape (num_envs,) to a buffer."""
    buffer = SimpleNamespace(rewards=np.zeros((7, N, 1)))
    buffer.rewards[0] = np.zeros(N)


def something_else_none() -> None:
    """Fail with the message of bug 6 on a line about something else."""
    poses: Optional[List[int]] = None
    print(poses[0])  # type: ignore[index]


class BaseLogger:
    """Is made without the environment."""


class MAPushLogger(BaseLogger):
    """Asks an environment that it was never given."""

    def episode_log(self) -> None:
        """Log."""
        if hasattr(self.envs, "get_statistics"):  # type: ignore[attr-defined]
            print("statistics")


class Loggers(BaseLogger):
    """Lacks something else."""


def logger_without_envs() -> None:
    """Bug 7."""
    MAPushLogger().episode_log()


def logger_without_file() -> None:
    """Fail like bug 7, for lack of something else."""
    print(MAPushLogger().log_file)  # type: ignore[attr-defined]


def get_task_name(env: str, env_args: Dict[str, Any]) -> str:
    """Know one environment."""
    if env == "smac":
        task = env_args["map_name"]
    return task


def task_name() -> None:
    """Bug 8."""
    get_task_name("mapush", {"task": "go1push_mid"})


def other_unbound_name() -> None:
    """Fail with the message of bug 8 in a function of one's own."""
    if N == A:
        task = "never"
    print(task)


def logger_registry() -> None:
    """Bug 8, no logger of this name."""
    args = {"env": "mapush"}
    LOGGER_REGISTRY[args["env"]]()


def algo_registry() -> None:
    """Name an algorithm that does not exist."""
    args = {"algo": "hapo"}
    ALGO_REGISTRY[args["algo"]]()


def num_agents_none() -> None:
    """Bug 8, no number of agents."""
    num_agents: Any = None
    print(list(range(num_agents)))


def range_of_something_else() -> None:
    """Fail with the message of the number of agents about something else."""
    count: Any = None
    print(list(range(count)))


def rows(got: Any, shape: Any) -> None:
    """Write observations to a buffer as HARL does."""
    actor_buffer = SimpleNamespace(obs=np.zeros(shape))
    actor_buffer.obs[0] = np.zeros(got).copy()


def another_number_of_envs() -> None:
    """Bug 3: 10 envs where 5 are configured."""
    rows((10, D), (7, N, D))


def another_width() -> None:
    """Observations of another width: the number of envs is right."""
    rows((N, 9), (7, N, D))


def arguments_of_no_parser() -> None:
    """Bug 3: arguments without what a parser adds."""
    args = SimpleNamespace(task="go1push_mid")
    print(args.physics_engine)


def namespace_of_something_else() -> None:
    """Lack an attribute of something that is no command line."""
    state = SimpleNamespace(x=0)
    print(state.y)


def nan_policy() -> None:
    """Give NaN to a distribution."""
    import torch

    torch.distributions.Normal(torch.full((N, K), float("nan")), 1.0)


def scale_of_zero() -> None:
    """Give a scale to a distribution that is not positive: no NaN."""
    import torch

    torch.distributions.Normal(torch.zeros(N, K), -torch.ones(N, K))


def std_negative() -> None:
    """Draw with a standard deviation below 0."""
    import torch

    torch.normal(torch.zeros(N), -torch.ones(N))


def worker_that_dies() -> None:
    """Ask a worker process that has died."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    remote, theirs = context.Pipe()
    process = context.Process(target=_die, args=(theirs, remote))
    process.start()
    theirs.close()
    process.join()
    remotes = [remote]
    print(remotes[0].recv())


def _die(theirs: Any, remote: Any) -> None:
    remote.close()
    raise ValueError("no map of this name")


def worker_without_simulation() -> None:
    """Ask a worker process that crashed where it created its simulation."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    remote, theirs = context.Pipe()
    process = context.Process(target=_crash, args=(remote,))
    process.start()
    theirs.close()
    process.join()
    remotes = [remote]
    print(remotes[0].recv())


def _crash(remote: Any) -> None:
    remote.close()
    create_sim()


def end_of_input() -> None:
    """Read from an input that has ended."""
    print(input())


class Box:
    """A space, which HARL knows by the name of its class."""

    def __init__(self, width: int, bound: float) -> None:
        self.shape = (width,)
        self.low, self.high = np.full(width, -bound, np.float32), np.full(width, bound, np.float32)


class Points:
    """A point for each agent that its actions push; like the rest, without a bug."""

    def __init__(self, num_envs: int = N, seed: int = 0) -> None:
        self.num_envs, self.n_agents = num_envs, A
        self.observation_space, self.share_observation_space = [Box(D, 1e6)] * A, [Box(A * D, 1e6)] * A
        self.action_space = [Box(K, 1.0)] * A
        self._random = np.random.default_rng(seed)
        self._x = np.zeros((num_envs, A, D))

    def reset(self) -> Any:
        """Start anywhere."""
        self._x = self._random.normal(size=self._x.shape)
        return (*self._see(), [None] * self.num_envs)

    def step(self, actions: np.ndarray) -> Any:
        """Push."""
        self._x[..., :K] += 0.02 * self._scaled(actions)
        rewards = -np.abs(self._x).mean((1, 2))[:, None, None].repeat(A, 1).astype(np.float32)
        dones = np.zeros((self.num_envs, A), bool)
        infos = [[{} for _ in range(A)] for _ in range(self.num_envs)]
        return (*self._see(), rewards, dones, infos, [None] * self.num_envs)

    def close(self) -> None:
        """Nothing to close."""

    def _see(self) -> Any:
        obs = self._x.astype(np.float32)
        return obs, obs.reshape(self.num_envs, 1, -1).repeat(A, 1)

    def _scaled(self, actions: np.ndarray) -> np.ndarray:
        return np.clip(actions, -1.0, 1.0)


class SwappedPoints(Points):
    """Bug 4: transposes the actions before a library scales them."""

    def _scaled(self, actions: np.ndarray) -> Any:
        import torch

        swapped = torch.from_numpy(np.ascontiguousarray(actions.transpose(1, 0, 2)))
        return Scaling(self.num_envs).step(swapped).numpy()


class Scaling(Wrapper):
    """Scales the actions of any number of envs."""

    def __init__(self, num_envs: int) -> None:
        import torch

        self.scale = torch.ones(num_envs, A, K)

    def step(self, action: Any) -> Any:
        """Scale the actions."""
        return action * self.scale


class FixedSize(Points):
    """Bug 3: makes 20 envs, whatever is asked for."""

    def __init__(self, num_envs: int = N, seed: int = 0) -> None:
        super().__init__(20, seed)


class Dying(Points):
    """Aborts in a step, with a reason in its last words."""

    def step(self, actions: np.ndarray) -> Any:
        """Say why, and abort."""
        for number in range(30):
            print(f"step {number}")
        physx_gives_up()


class Crashing(Points):
    """Crashes in native code in which a library is."""

    def reset(self) -> Any:
        """Simulate."""
        return create_envs()


class NoSimulation(Points):
    """Bug 1: reads address 0 in `create_sim`."""

    def __init__(self, num_envs: int = N, seed: int = 0) -> None:
        super().__init__(num_envs, seed)
        create_sim()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
