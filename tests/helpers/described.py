"""Describe an environment, a configuration or a module, so that a double can be compared with the original."""

from __future__ import annotations

import enum
import inspect
import sys
import types
from typing import Any, Dict

import numpy as np
import torch
from mapush_code import make_wrapper

NAME, NUM_ENVS, NUM_AGENTS = "cylinder", 5, 3
MOMENTS = ("made", "reset", "stepped")


def value(item: Any) -> str:
    """Return type, shape, dtype and device of a tensor, and the type of anything else."""
    if isinstance(item, torch.Tensor):
        return f"tensor {item.dtype} {tuple(item.shape)} {item.device.type}"
    if isinstance(item, np.ndarray):
        return f"array {item.dtype} {item.shape}"
    if isinstance(item, enum.Enum):
        return f"enum {item.name}"
    if type(item) in (int, float):
        return "number"
    if isinstance(item, (bool, float, str, list, tuple, dict, type(None))):
        return type(item).__name__
    if inspect.isclass(item):
        return "class"
    return "object"


def environment() -> Dict[str, Any]:
    """Return what MAPush's environment, or the double of it, and everything that belongs to it offers."""
    wrapper, found = make_wrapper(NAME, NUM_ENVS), {}
    env = wrapper.env
    for moment in MOMENTS:
        if moment == "reset":
            found["first observation"] = {"": value(wrapper.reset())}
        if moment == "stepped":
            returned = wrapper.step(torch.zeros(NUM_ENVS, NUM_AGENTS, 3))
            found["returned"] = {str(index): value(item) for index, item in enumerate(returned)}
        found[f"env when {moment}"] = attributes(env)
        found[f"wrapper when {moment}"] = attributes(wrapper)
    found["buffer of observations"] = attributes(env.obs_buf)
    found["info"] = {key: value(item) for key, item in env.extras.items()}
    found["sums of rewards"] = {key: value(item) for key, item in wrapper.reward_buffer.items()}
    for name, owner in (
        ("simulation", env.sim),
        ("gym", env.gym),
        ("parameters", env.sim_params),
        ("parameters of PhysX", env.sim_params.physx),
        ("space of observations", wrapper.observation_space),
        ("space of actions", wrapper.action_space),
    ):
        found[name] = attributes(owner)
    found["configuration"] = nested(env.cfg)  # but for the buffer of observations, which is a part of it
    for name in sorted(sys.modules):
        _, _, last = name.rpartition(".")
        if name.split(".")[0] in ("mqe", "isaacgym") and not last.startswith("_"):
            found[f"module {name}"] = module(sys.modules[name])
    return found


def attributes(owner: Any) -> Dict[str, str]:
    """Return what each public attribute of an object or a class is; of a method, its arguments."""
    found = {}
    for name in dir(owner):
        if name.startswith("_"):
            continue
        try:
            item = getattr(owner, name)
        except AttributeError:  # a property of gym.Wrapper that the environment lacks
            continue
        if callable(item) and not inspect.isclass(item):
            found[name] = call(item)
        else:
            found[name] = value(item)
    return found


def call(function: Any) -> str:
    """Return the names of the arguments of a function."""
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:  # of a function in C
        return "function"
    return f"function {' '.join(names)}"


def nested(owner: Any, prefix: str = "") -> Dict[str, str]:
    """Return the values in a configuration of nested classes by their path."""
    found = {}
    for name in dir(owner):
        if name.startswith("_") or prefix + name == "obs":
            continue
        item = getattr(owner, name)
        if inspect.isclass(item):
            found.update(nested(item, f"{prefix}{name}."))
        else:
            found[prefix + name] = repr(item)
    return found


def module(owner: types.ModuleType) -> Dict[str, str]:
    """Return what a module defines itself, and what its package offers."""
    found = {}
    for name, item in vars(owner).items():
        if name.startswith("_") or isinstance(item, types.ModuleType):
            continue
        if getattr(item, "__module__", owner.__name__).split(".")[0] != owner.__name__.split(".")[0]:
            continue
        if inspect.isclass(item):
            found[name] = "class"
        elif callable(item):
            found[name] = call(item)
        else:
            found[name] = value(item)
    return found
