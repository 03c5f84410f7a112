"""Make an environment as upstream does: which arguments it reads, and how it uses the configuration."""

from __future__ import annotations

import argparse
import random
from typing import Any, Dict, Tuple

import numpy as np
import torch
from isaacgym import gymapi


def class_to_dict(obj: Any) -> Any:
    """Return nested classes as nested dicts."""
    if not hasattr(obj, "__dict__"):
        return obj
    public = [name for name in dir(obj) if not name.startswith("_")]
    return {name: class_to_dict(getattr(obj, name)) for name in public}


def set_seed(seed: int) -> None:
    """Seed every global generator."""
    if seed == -1:
        seed = int(np.random.randint(0, 10000))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def parse_sim_params(args: argparse.Namespace, cfg: Dict[str, Any]) -> gymapi.SimParams:
    """Return Isaac Gym's parameters."""
    params = gymapi.SimParams()
    if args.physics_engine == gymapi.SIM_FLEX:
        assert args.device
    elif args.physics_engine == gymapi.SIM_PHYSX:
        params.physx.use_gpu = args.use_gpu
        params.physx.num_subscenes = args.subscenes
    params.use_gpu_pipeline = args.use_gpu_pipeline
    params.dt = cfg["sim"]["dt"]
    for name, value in cfg["sim"]["physx"].items():
        setattr(params.physx, name, value)
    if args.physics_engine == gymapi.SIM_PHYSX and args.num_threads > 0:
        params.physx.num_threads = args.num_threads
    return params


def make_env(task_class: Any, env_cfg: Any, args: argparse.Namespace) -> Tuple[Any, Any]:
    """Make the environment."""
    if args.num_envs is not None:
        env_cfg.env.num_envs = args.num_envs
    set_seed(args.seed)
    env = task_class(
        cfg=env_cfg,
        sim_params=parse_sim_params(args, {"sim": class_to_dict(env_cfg.sim)}),
        physics_engine=args.physics_engine,
        sim_device=args.sim_device,
        headless=args.headless,
    )
    return env, env_cfg
