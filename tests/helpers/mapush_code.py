"""MAPush's own code, unedited, on the stand-in for Isaac Gym; and our task, driven through the same states.

Needs a checkout of MAPush in the folder `MAPUSH_DIR`, and the packages that MQE imports.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import math
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
from fakes import KinematicSimulator

from mapush.config import RewardConfig, TaskConfig
from mapush.env import rewards
from mapush.env.push import PushEnv
from mapush.env.push_quirks import push_env_class
from mapush.env.vec_env import Transition
from mapush.objects import OBJECTS
from mapush.sim.geometry import quat_from_rpy, rotate_inverse, rotate_xy, yaw_of
from mapush.sim.physics import JOINTS, State

VARIABLE = "MAPUSH_DIR"
WALKING = "mqe/utils/locomotion_checkpoints/walk_these_ways"
FLOOR = 0.02  # height of MAPush's floor [m]
CENTRE = 12.0  # of the track along x [m]
PAIRS = 2**20
ROUNDING = 5e-6  # of a position in the world [m]
WEIGHTS = RewardConfig(0.1, 0.2, -0.3, 0.4, 0.5, 6.0, -7.0, expanded_ocb=False)
SCALES = {  # our name of a weight: the attribute of MAPush's wrapper
    "target": "target_reward_scale",
    "approach": "approach_reward_scale",
    "collision": "collision_punishment_scale",
    "push": "push_reward_scale",
    "ocb": "ocb_reward_scale",
    "reach_target": "reach_target_reward_scale",
    "exception": "exception_punishment_scale",
}


def copy_checkout(folder: Path) -> Path:
    """Copy what runs of the checkout, and return the copy: robots there stand still.

    A copy, because the walking policy is replaced by one that returns zeros; snapshots of MAPush lack that file anyway.
    """
    source = Path(os.environ[VARIABLE]).resolve()
    for name in ("mqe", "task", "openrl_ws"):
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "resources").symlink_to(source / "resources")
    torch.jit.script(_Still()).save(str(folder / WALKING / "body_latest.jit"))
    return folder


class _Still(torch.nn.Module):
    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(seen.shape[0], 12)


@contextlib.contextmanager
def loaded(folder: Path) -> Iterator[None]:
    """Make `import isaacgym` and `import mqe` find the stand-in and the checkout, and undo that at the end."""
    from isaac_standin import devices, install

    path, cwd, environ = list(sys.path), os.getcwd(), dict(os.environ)
    profiling = torch._C._jit_set_profiling_mode(True)
    executor = torch._C._jit_set_profiling_executor(True)
    forget()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            install.install(install.Settings(backend="cpu", threads=1))
            importlib.import_module("mqe.envs.utils")
        yield
    finally:
        if devices._active is not None:
            devices._active.undo()
        torch._C._jit_set_profiling_mode(profiling)
        torch._C._jit_set_profiling_executor(executor)
        sys.path[:] = path
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(environ)
        forget()


def forget() -> None:
    """Make the next import of Isaac Gym or MQE load it again."""
    for name in list(sys.modules):
        if name.split(".")[0] in ("isaacgym", "mqe"):
            del sys.modules[name]


class Frozen:
    """A gym in which nothing moves: the state tensors are what the program, or the test, wrote last."""

    def __init__(self, gym: Any) -> None:
        self._gym = gym

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._gym, name)
        if name.startswith(("simulate", "fetch_results", "refresh_", "set_")):
            return lambda *_: None
        return method


def arguments(num_envs: int, **changes: Any) -> argparse.Namespace:
    """Return the arguments of MAPush's own functions."""
    from mapush.upstream import mqe_upstream

    values = vars(mqe_upstream.arguments(num_envs, seed=3, window=False, camera=False))
    return argparse.Namespace(**dict(values, **changes))


def make_wrapper(name: str, num_envs: int) -> Any:
    """Make MAPush's own environment of an object by its own functions, as its training does."""
    from mqe.envs.utils import ENV_DICT, custom_cfg, make_mqe_env

    from mapush.upstream import mqe_upstream

    config = mqe_upstream._load_config(Path("task", mqe_upstream.CONFIG_FOLDERS[name], "config.py").resolve())
    args = arguments(num_envs)
    before = ENV_DICT["go1push_mid"]["config"]
    ENV_DICT["go1push_mid"]["config"] = config  # what openrl_ws/update_config.py does to the file
    try:
        env, _ = make_mqe_env("go1push_mid", args, custom_cfg(args))
    finally:
        ENV_DICT["go1push_mid"]["config"] = before
    return env


def make_mqe(task: TaskConfig, num_envs: int, pairs: int = PAIRS) -> Any:
    """Make our adapter over MAPush's code on the stand-in."""
    from mapush.upstream.mqe_standin import StandinEnv

    return StandinEnv(task, num_envs, seed=3, contact_pairs=pairs)


def freeze(env: Any) -> Any:
    """Let nothing move in MAPush's environment, given with or without its wrapper."""
    env = getattr(env, "env", env)
    env.gym = Frozen(env.gym)
    return env


def write_roots(env: Any, roots: torch.Tensor) -> None:
    """Write root states (E, A + 2, 13), in the world, of robots, object and goal into MAPush's own tensor."""
    env.all_root_states.view(roots.shape)[:] = roots


def read_roots(env: Any) -> torch.Tensor:
    """Return MAPush's root states (E, A + 2, 13), in the world, after any reset."""
    robots = env.root_states.view(env.num_envs, -1, 13)
    npcs = env.root_states_npc.view(env.num_envs, -1, 13)
    return torch.cat((robots, npcs), dim=1).clone()


def our_state(roots: torch.Tensor, origins: torch.Tensor) -> Tuple[State, torch.Tensor]:
    """Return our state and the goals (E, 3) for MAPush's root states (E, A + 2, 13)."""
    position = roots[..., :3] - origins.unsqueeze(1)
    position[..., 2] -= FLOOR
    quat = torch.cat((roots[..., 6:7], roots[..., 3:6]), dim=-1)
    spin = rotate_inverse(quat, roots[..., 10:13])
    joints = torch.zeros(roots.shape[0], roots.shape[1] - 2, len(JOINTS))
    state = State(
        robot_pos_w=position[:, :-2],
        robot_quat_w=quat[:, :-2],
        robot_lin_vel_w=roots[:, :-2, 7:10].clone(),
        robot_ang_vel_b=spin[:, :-2],
        joint_pos=joints,
        joint_vel=joints,
        object_pos_w=position[:, -2],
        object_quat_w=quat[:, -2],
        object_lin_vel_w=roots[:, -2, 7:10].clone(),
        object_ang_vel_b=spin[:, -2],
    )
    return state, position[:, -1]


class _Scripted(KinematicSimulator):
    """A simulator whose next state is given."""

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        self.commands = commands
        self.place(**vars(self.after))
        return self.state()


class _Given:
    """A spawner of given states."""

    def draw(self) -> Tuple[State, torch.Tensor]:
        return self.state, self.goal.clone()


class Ours:
    """Our task, led through the states of MAPush's.

    Attributes:
      env: the task.
    """

    def __init__(self, task: TaskConfig, origins: torch.Tensor) -> None:
        self.origins = origins
        simulator = _Scripted(len(origins), OBJECTS[task.object].num_agents)
        self.env: PushEnv = push_env_class(task)(simulator, task, seed=0)
        self.env._spawner = _Given()

    def reset(self, roots: torch.Tensor) -> Any:
        """Start every episode in the root states (E, A + 2, 13)."""
        self._spawn(roots)
        return self.env.reset()

    def step(self, actions: torch.Tensor, judged: torch.Tensor, after: torch.Tensor) -> Transition:
        """Take an env step that leads to `judged`, from where what ended is reset to `after`; both (E, A + 2, 13)."""
        self.env.simulator.after, goal = our_state(judged, self.origins)
        self.env.goal_pos_w = goal
        self._spawn(after)
        return self.env.step(actions)

    def _spawn(self, roots: torch.Tensor) -> None:
        self.env._spawner.state, self.env._spawner.goal = our_state(roots, self.origins)


def random_roots(name: str, num_envs: int, generator: torch.Generator) -> torch.Tensor:
    """Draw root states (E, A + 2, 13) on the track in which every ending occurs, and every edge is the nearest one."""
    item = OBJECTS[name]

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand((num_envs, *shape), generator=generator)

    def sometimes(share: float, *shape: int) -> torch.Tensor:
        return torch.rand((num_envs, *shape), generator=generator) < share

    bodies = item.num_agents + 2
    roots = torch.zeros(num_envs, bodies, 13)
    reach = 1.6 * max(abs(corner) for vertex in item.vertices for corner in vertex)
    thing, goal, robots = roots[:, -2], roots[:, -1], roots[:, :-2]
    thing[:, :2] = uniform(-2.0, 2.0, 2)
    thing[:, 2] = 0.3 + torch.where(sometimes(0.04), uniform(-0.6, 0.6), uniform(-0.2, 0.2))
    bearing, distance = uniform(0.0, 6.3), uniform(0.6, 3.5)
    goal[:, 0] = thing[:, 0] + distance * torch.cos(bearing)
    goal[:, 1] = thing[:, 1] + distance * torch.sin(bearing)
    goal[:, 2] = 0.1
    robots[..., :2] = thing[:, None, :2] + uniform(-reach, reach, item.num_agents, 2)
    robots[..., 2] = 0.45 + torch.where(sometimes(0.02, 2), uniform(-0.5, 0.5, 2), uniform(-0.3, 0.1, 2))[:, :1]
    near = sometimes(0.1)
    robots[near, 1, :3] = robots[near, 0, :3] + uniform(-0.25, 0.25, 3)[near]
    roots[:, :-1, 3:7] = _quats(uniform, sometimes, bodies - 1)
    goal[:, 6] = 1.0
    roots[:, :-1, 7:13] = 0.12 * torch.randn((num_envs, bodies - 1, 6), generator=generator)
    return roots


def _quats(uniform: Any, sometimes: Any, bodies: int) -> torch.Tensor:
    """Draw quaternions xyzw (E, bodies, 4): most are nearly upright, some lie anyhow."""
    roll, pitch, yaw = uniform(-0.7, 0.7, bodies), uniform(-0.7, 0.7, bodies), uniform(-3.2, 3.2, bodies)
    anyhow = sometimes(0.03, bodies)
    roll = torch.where(anyhow, uniform(-3.1, 3.1, bodies), roll)
    pitch = torch.where(anyhow, uniform(-1.5, 1.5, bodies), pitch)
    quat = quat_from_rpy(roll, pitch, yaw)
    return torch.cat((quat[..., 1:], quat[..., :1]), dim=-1)


def on_track(roots: torch.Tensor, origins: torch.Tensor) -> torch.Tensor:
    """Move root states (E, A + 2, 13) to where MAPush's track is in the world."""
    moved = roots.clone()
    moved[..., :3] += origins.unsqueeze(1)
    moved[..., 0] += CENTRE
    return moved


def weigh(wrapper: Any, weights: Dict[str, float]) -> None:
    """Set all weights of MAPush's wrapper, those that are not named to 0."""
    for ours, attribute in SCALES.items():
        setattr(wrapper, attribute, weights.get(ours, 0.0))


def nearest_edge_is_clear(name: str, state: State) -> torch.Tensor:
    """Return where rounding cannot decide which edge of the object is nearest to a robot, (E, A) bool.

    That edge gives the direction of the occlusion-based reward, which jumps where two edges are equally near.
    """
    vertices = torch.tensor(OBJECTS[name].vertices)
    offset = state.robot_pos_w[..., :2] - state.object_pos_w[:, None, :2]
    points = rotate_xy(offset, -yaw_of(state.object_quat_w).unsqueeze(1))
    clear = torch.ones(points.shape[:2], dtype=torch.bool)
    normal = rewards._nearest_normal(points, vertices)
    for shift in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        moved = rewards._nearest_normal(points + ROUNDING * torch.tensor(shift), vertices)
        clear &= (moved == normal).all(dim=-1)
    return clear


def angle_gap(theirs: torch.Tensor, ours: torch.Tensor) -> float:
    """Return the largest difference of observations; angles may differ by a full turn."""
    gap = (theirs - ours).abs()
    return float(torch.minimum(gap, (gap - 2.0 * math.pi).abs()).max())


def reward_gap(theirs: torch.Tensor, ours: torch.Tensor, clear: torch.Tensor) -> float:
    """Return the largest difference of rewards as a share of 1 + their size, where the nearest edge is `clear`."""
    gap = (theirs - ours).abs() / (1.0 + theirs.abs())
    assert clear.float().mean() > 0.99
    return float(gap[clear].max())
