"""Small checkouts with the files that the doctor reads: a HARL with an environment of MQE in it, and an MQE."""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Tuple

CHAIN = """
def get_task_name(env, env_args):
    if env == "smac":
        task = env_args["map_name"]
    elif env == "mapush":
        task = env_args.get("task", "go1push_mid")
    return task
"""
TOOLS = """
def make_train_env(env_name, seed, n_threads, env_args):
    if env_name == "mapush":
        return Env(env_args)
    raise NotImplementedError

def make_eval_env(env_name, seed, n_threads, env_args):
    if env_name in ("smac", "mapush"):
        return Env(env_args)
    raise NotImplementedError

def make_render_env(env_name, seed, env_args):
    if env_name == "mapush":
        return Env(env_args)
    else:
        raise NotImplementedError

def get_num_agents(env, env_args, envs):
    if env == "smac":
        return 3
    elif env == "mapush":
        return envs.n_agents
"""
RUNNER = """
class Runner:
    def __init__(self):
        self.actor = []
        self.actor.append(1)
        self.buffers = [Buffer(), Buffer()]

    def insert(self, infos, available_actions, agent_id):
        flags = [
            [0.0] if 0 in info and "bad_transition" in info[0].keys() and info[0]["bad_transition"] == True else [1.0]
            for info in infos
        ]
        if available_actions is not None and available_actions[0] is not None:
            self.buffers[agent_id].insert(flags, available_actions[:, agent_id])

    def eval(self, eval_available_actions, agent_id):
        return eval_available_actions[:, agent_id] if eval_available_actions is not None else None
"""
LOGGER = """
from harl.common.base_logger import BaseLogger

class MAPushLogger(BaseLogger):
    def __init__(self):
        self.envs = None

    def set_envs(self, envs):
        self.envs = envs

    def episode_log(self):
        self.shown = self.envs.get_statistics()
        self.envs.reset_statistics()
"""
OWN_RUNNER = """
from harl.runners.on_policy_base_runner import Runner

class MAPushRunner(Runner):
    def __init__(self):
        super().__init__()
        self.logger.set_envs(self.envs)
"""
ENV = """
import argparse
from collections import deque

import numpy as np
import torch
from mqe.envs.utils import custom_cfg, make_mqe_env

class MAPushEnv:
    def __init__(self, env_args):
        args = argparse.Namespace()
        args.physics_engine, args.use_gpu, args.subscenes = 0, True, 0
        args.use_gpu_pipeline, args.num_threads, args.seed = True, 0, 1
        args.sim_device, args.headless = "cuda:0", True
        args.num_envs = env_args["n_threads"]
        args.record_video = False
        self.env, self.env_cfg = make_mqe_env("go1push_mid", args, custom_cfg=custom_cfg(args))
        self.n_envs = args.num_envs
        self.reset_statistics()

    def step(self, actions):
        obs, state, rewards, dones = self.env.step(torch.from_numpy(actions).cuda())
        for env in np.flatnonzero(dones):
            self.episode_success.append(float(rewards[env]))
        infos = [{0: {}} for _ in range(self.n_envs)]
        return obs, state, rewards, dones, infos, [None] * self.n_envs

    def get_statistics(self):
        return np.mean(self.episode_success)

    def reset_statistics(self):
        self.episode_success = deque(maxlen=1000)
"""
HARL = {
    "harl/__init__.py": "",
    "harl/envs/__init__.py": 'LOGGER_REGISTRY = {"smac": SMACLogger, "mapush": MAPushLogger}\n',
    "harl/utils/configs_tools.py": CHAIN,
    "harl/utils/envs_tools.py": TOOLS,
    "harl/configs/envs_cfgs/mapush.yaml": "task: go1push_mid\n",
    "harl/runners/on_policy_base_runner.py": RUNNER,
    "harl/envs/mapush/mapush_env.py": ENV,
    "harl/envs/mapush/mapush_logger.py": LOGGER,
    "harl_mapush/runners/mapush_happo_runner.py": OWN_RUNNER,
    "examples/train.py": 'parser.add_argument("--env", choices=["smac", "mapush"])\n',
}
MQE = {
    "mqe/__init__.py": "",
    "mqe/envs/base/base_task.py": """
class BaseTask:
    def __init__(self, cfg, sim_params):
        self.sim_params = sim_params
        self.sim_params.physx.max_gpu_contact_pairs *= 1
        self.frames = []

    def step(self, actions):
        self.frames.append(actions)

    def reset(self):
        self.frames.clear()
""",
    "mqe/envs/base/config.py": "class physx:\n    max_gpu_contact_pairs = 2**23\n    record_video = True\n",
    "mqe/utils/helpers.py": """
def make_env(task, cfg, args=None):
    set_seed(args.seed)
    return task(cfg, args.physics_engine, args.sim_device, args.headless, args.num_envs)

def parse_sim_params(args, cfg):
    return args.use_gpu, args.subscenes, args.use_gpu_pipeline, args.num_threads
""",
}
Change = Tuple[str, str, str]


def write_checkouts(folder: Path, changes: List[Change] = ()) -> Tuple[Path, Path]:  # type: ignore[assignment]
    """Write both checkouts, and return their folders.

    Args:
      folder: where they are written, as `HARL` and `MAPush`.
      changes: (file, old text, new text); the old text must occur in the file.
    """
    files: Dict[str, str] = {}
    for root, written in (("HARL", HARL), ("MAPush", MQE)):
        for name, text in written.items():
            files[f"{root}/{name}"] = text
    for name, old, new in changes:
        (path,) = [path for path in files if path.endswith(name)]
        assert old in files[path], old
        files[path] = files[path].replace(old, new)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "HARL", folder / "MAPush"
