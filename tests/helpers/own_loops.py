"""Things of a user's that can be soaked: environments, runners and loops, with a leak and without."""

from __future__ import annotations

import os
import threading

import numpy as np

from harness import Subject

NUM_ENVS, NUM_AGENTS, OBS_DIM, ACTION_DIM = 5, 2, 3, 4
MADE = []


class Box:
    """A space as HARL reads it."""

    def __init__(self, size, bound):
        self.shape = (size,)
        self.low, self.high = np.full(size, -bound, "f4"), np.full(size, bound, "f4")


class Env:
    """A batch of envs in HARL's interface, with episodes of `limit` steps."""

    def __init__(self, num_envs=NUM_ENVS, limit=7, keeps=False):
        self.num_envs, self.limit, self.keeps = num_envs, limit, keeps
        self.n_agents = NUM_AGENTS
        self.observation_space = [Box(OBS_DIM, 10.0)] * NUM_AGENTS
        self.share_observation_space = [Box(6, 10.0)] * NUM_AGENTS
        self.action_space = [Box(ACTION_DIM, 1.0)] * NUM_AGENTS
        self.episode_success = []
        self.time = 0

    def _observations(self):
        return np.zeros((self.num_envs, NUM_AGENTS, OBS_DIM)), np.zeros((self.num_envs, NUM_AGENTS, 6))

    def reset(self):
        """Start new episodes."""
        self.time = 0
        return (*self._observations(), None)

    def step(self, actions):
        """Take a step; all episodes end together."""
        assert actions.shape == (self.num_envs, NUM_AGENTS, ACTION_DIM)
        self.time += 1
        ends = self.time % self.limit == 0
        if ends and self.keeps:
            self.episode_success += np.random.random(self.num_envs).tolist()
        dones = np.full((self.num_envs, NUM_AGENTS), ends)
        infos = [[{}] * NUM_AGENTS] * self.num_envs
        return (*self._observations(), np.zeros((self.num_envs, NUM_AGENTS, 1)), dones, infos, None)

    def close(self):
        """Do nothing."""


def clean_env(num_envs=NUM_ENVS):
    """Return an environment that keeps nothing."""
    return Env(num_envs)


def leaking_env(num_envs=NUM_ENVS):
    """Return an environment that keeps a number for each episode."""
    return Env(num_envs, keeps=True)


def env_of_long_episodes():
    """Return an environment whose leak shows only after episodes that are too long for the test."""
    return Env(limit=10**7, keeps=True)


class Logger:
    """Logs nothing."""

    def __init__(self):
        self.returns = []


class Runner:
    """Runs as HARL's runners do: iterations of steps, an update, and a hook at the end."""

    def __init__(self, keeps=False, raises=False):
        self.envs, self.logger = Env(), Logger()
        self.keeps, self.raises = keeps, raises
        self.algo_args = {"train": {"num_env_steps": 900, "episode_length": 6, "n_rollout_threads": NUM_ENVS}}
        self.closed = False

    def run(self):
        """Train for as many env steps as the settings say."""
        self.envs.reset()
        for _ in range(self.algo_args["train"]["num_env_steps"] // 6 // NUM_ENVS):
            for _ in range(6):
                self.envs.step(np.zeros((NUM_ENVS, NUM_AGENTS, ACTION_DIM)))
            if self.keeps:
                self.logger.returns.append(np.random.random(40))
            if self.raises and self.envs.time > 30:
                raise ValueError("the critic is NaN")
            self.train()
            self.after_update()

    def train(self):
        """Do nothing."""

    def after_update(self):
        """Do nothing."""

    def close(self):
        """Note that it was called."""
        self.closed = True


def clean_runner():
    """Return a runner that keeps nothing."""
    return Runner()


def leaking_runner():
    """Return a runner whose logger keeps an array for each iteration."""
    return Runner(keeps=True)


def raising_runner():
    """Return a runner that fails in its sixth iteration."""
    return Runner(raises=True)


def leaking_generator():
    """Yield after each cycle, and keep an array of each."""
    kept = []
    while True:
        kept.append(np.ones(300))
        yield


def clean_generator():
    """Yield after each cycle."""
    while True:
        np.ones(300)
        yield


def leaking_function():
    """Return a function that opens a file in each cycle and closes none."""
    return lambda: os.open(os.devnull, os.O_RDONLY)


def clean_function():
    """Return a function that opens a file in each cycle and closes it."""
    return lambda: os.close(os.open(os.devnull, os.O_RDONLY))


def leaking_subject():
    """Return a subject that starts a thread in each cycle, which waits for ever."""
    wait = threading.Event()
    return Subject(lambda: threading.Thread(target=wait.wait, daemon=True).start(), close=wait.set)


def clean_subject():
    """Return a subject that does nothing."""
    return Subject(lambda: None)


def only_once():
    """Return an environment, but only once in a process."""
    if MADE:
        os.abort()
    MADE.append(1)
    return Env()


def no_gpu():
    """Fail as torch does on a machine without a GPU."""
    raise RuntimeError("No CUDA GPUs are available")


def hangs():
    """Never return."""
    threading.Event().wait()


def number():
    """Return something that cannot be soaked."""
    return 3
