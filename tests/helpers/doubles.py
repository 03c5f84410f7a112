"""Load the fakes of Isaac Gym and MQE, and make the same task with and without them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import torch
from fakes import KinematicSimulator

from mapush.config import RewardConfig, TaskConfig
from mapush.env.push import PushEnv
from mapush.env.push_quirks import push_env_class
from mapush.env.resets import Spawner
from mapush.objects import OBJECTS
from mapush.upstream.mqe import MqeEnv

FOLDER = Path(__file__).resolve().parent.parent / "doubles"
NUM_ENVS = 5
PAIRS = 1234567
TOLERANCE = 1e-4  # upstream's positions are up to 18 m from the origin, where float32 is less precise
OBSERVATIONS = ("obs", "share_obs")


def load_doubles(monkeypatch) -> None:
    """Make the fakes importable, without a GPU and with robots that glide, as if torch had not been imported."""
    forget_doubles()
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(MqeEnv, "_used", False)
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "torch")
        importlib.import_module("isaacgym")
    monkeypatch.setenv("MQE_DOUBLE", "glide")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of processes that a test starts
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def forget_doubles() -> None:
    """Make the next import load the fakes again."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("isaacgym", "mqe"):
            del sys.modules[name]


def task(name="cuboid", quirks=False, hold=1) -> TaskConfig:
    """Return the task with weights for which every reward term matters."""
    weights = RewardConfig(0.1, 0.2, -0.3, 0.4, 0.5, 6.0, -7.0, expanded_ocb=True)
    return TaskConfig(object=name, steps_per_decision=hold, reward=weights, upstream_quirks=quirks)


def make_mqe(name="cuboid", quirks=False, hold=1, seed=3) -> MqeEnv:
    """Make the task on the fake of MQE."""
    return MqeEnv(task(name, quirks, hold), NUM_ENVS, seed, PAIRS)


def make_push(name="cuboid", quirks=False, hold=1, seed=3, simulator=None) -> PushEnv:
    """Make our own task, with upstream's initial states."""
    item = OBJECTS[name]
    simulator = simulator or KinematicSimulator(NUM_ENVS, item.num_agents)
    config = task(name, quirks, hold)
    env = push_env_class(config)(simulator, config, seed)
    env._spawner = Spawner(item, NUM_ENVS, env._generator, min_separation=0.0)
    return env


def run(code_or_args, cwd, **environ) -> subprocess.CompletedProcess:
    """Run Python in a new process that finds the fakes.

    Args:
      code_or_args: code, or a list of words: a module and its arguments.
      cwd: working directory.
      **environ: additional environment variables.
    """
    words = ["-m", *code_or_args]
    if isinstance(code_or_args, str):
        words = ["-c", code_or_args]
    here = Path(__file__).resolve().parent
    paths = [str(FOLDER), str(here), str(here.parent.parent), os.environ.get("PYTHONPATH", "")]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", **environ)
    env.pop("MAPUSH_DIR", None)  # names the real MQE, for other tests
    return subprocess.run([sys.executable] + words, cwd=str(cwd), env=env, stdout=-1, stderr=-1, text=True)


def largest_difference(left, right) -> float:
    """Return the largest absolute difference between two tensors of the same shape."""
    assert left.shape == right.shape
    return float((left.double() - right.double()).abs().max())


def random_actions(step, num_agents):
    """Return actions, many of which are out of bounds."""
    return 1.5 * torch.randn(NUM_ENVS, num_agents, 3, generator=torch.Generator().manual_seed(step))


def differences(mine, theirs):
    """Return the largest difference in each part of two transitions."""
    found = {}
    for name in ("reward", "terminated", "truncated"):
        found[name] = largest_difference(getattr(mine, name), getattr(theirs, name))
    for name in OBSERVATIONS:
        found[name] = largest_difference(getattr(mine.observation, name), getattr(theirs.observation, name))
        final, expected = getattr(mine.final_observation, name), getattr(theirs.final_observation, name)
        found[f"final {name}"] = largest_difference(final, expected)
    assert set(mine.outcome) == set(theirs.outcome)
    for name, expected in theirs.outcome.items():
        found[f"outcome {name}"] = largest_difference(mine.outcome[name], expected)
    return found
