"""Fakes of the slow or random parts, as strict about shapes and types as the originals."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

import torch

from mapush.config import TaskConfig, team_size
from mapush.env.push_quirks import push_env_class
from mapush.sim.geometry import rotate_xy, yaw_of
from mapush.sim.physics import JOINTS, STEP_DT, State
from mapush.spec import TensorSpec

NUM_ENVS, NUM_AGENTS = 5, 2

WIDTHS = {
    "robot_pos_w": 3,
    "robot_quat_w": 4,
    "robot_lin_vel_w": 3,
    "robot_ang_vel_b": 3,
    "joint_pos": len(JOINTS),
    "joint_vel": len(JOINTS),
    "object_pos_w": 3,
    "object_quat_w": 4,
    "object_lin_vel_w": 3,
    "object_ang_vel_b": 3,
}


def random_state(num_envs: int, num_agents: int, seed: int = 0) -> State:
    """Return a random state with unit quaternions."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, width in WIDTHS.items():
        shape = (num_envs, width) if name.startswith("object") else (num_envs, num_agents, width)
        value = torch.randn(shape, generator=generator)
        values[name] = value / value.norm(dim=-1, keepdim=True) if "quat" in name else value
    return State(**values)


def rows_at(state: State, env_ids: torch.Tensor) -> State:
    """Return the rows `env_ids` (k,) of every field of a state with an object."""
    return _map(lambda value: value[env_ids], state)


class KinematicSimulator:
    """Robots that move exactly as commanded; an object that moves with `object_velocity_w` (E, 3) [m/s].

    It has the interface of `mapush.sim.simulator.Simulator`.
    """

    def __init__(self, num_envs: int, num_agents: int) -> None:
        self.num_envs, self.num_agents, self.device = num_envs, num_agents, torch.device("cpu")
        self.name = "kinematic"
        self.object_velocity_w = torch.zeros(num_envs, 3)
        self.commands: Optional[torch.Tensor] = None
        self.steps = 0
        self.memory = torch.zeros(num_envs, num_agents, 14)
        self._state = random_state(num_envs, num_agents)

    def state(self) -> State:
        """Return a copy of the present state."""
        return _map(torch.clone, self._state)

    def place(self, **fields: torch.Tensor) -> None:
        """Replace fields of the present state."""
        self._state = dataclasses.replace(self._state, **fields)
        self._validate(self._state, self.num_envs)

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """Move for `STEP_DT`."""
        dims, shape = ("num_envs", "num_agents", "action_dim"), (self.num_envs, self.num_agents, 3)
        TensorSpec("commands", dims, shape, low=-0.5, high=0.5).validate(commands, "KinematicSimulator.step")
        self.commands = commands
        self.steps += 1
        now = self._state
        velocity = torch.zeros_like(now.robot_pos_w)
        velocity[..., :2] = rotate_xy(commands[..., :2], yaw_of(now.robot_quat_w))
        turn = commands[..., 2] * STEP_DT / 2.0
        w, x, y, z = now.robot_quat_w.unbind(-1)
        sin, cos = torch.sin(turn), torch.cos(turn)
        quat = torch.stack((cos * w - sin * z, cos * x - sin * y, cos * y + sin * x, cos * z + sin * w), dim=-1)
        self.place(
            robot_pos_w=now.robot_pos_w + velocity * STEP_DT,
            robot_quat_w=quat,
            robot_lin_vel_w=velocity,
            object_pos_w=now.object_pos_w + self.object_velocity_w * STEP_DT,
            object_lin_vel_w=self.object_velocity_w.clone(),
        )
        return self.state()

    def reset(self, where: torch.Tensor, state: State) -> None:
        """Place the envs of `where` (E,) bool in their rows of `state`."""
        TensorSpec("where", ("num_envs",), (self.num_envs,), "bool").validate(where, "KinematicSimulator.reset")
        self._validate(state, self.num_envs)
        values = dataclasses.asdict(_map(torch.clone, self._state))
        for name, value in values.items():
            value[where] = getattr(state, name)[where]
        self._state = State(**values)

    def check(self) -> Dict[str, float]:
        """Return an empty report."""
        return {}

    def state_dict(self) -> Dict[str, Any]:
        """Return everything that changes."""
        return {"state": self.state(), "steps": self.steps}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._state, self.steps = _map(torch.clone, state["state"]), state["steps"]

    def close(self) -> None:
        """Do nothing."""

    def _validate(self, state: State, rows: int) -> None:
        for name, width in WIDTHS.items():
            value = getattr(state, name)
            agents = () if name.startswith("object") else (self.num_agents,)
            assert tuple(value.shape) == (rows,) + agents + (width,), (name, tuple(value.shape))
            assert value.dtype == torch.float32, (name, value.dtype)


def _map(function: Any, state: State) -> State:
    return State(**{field.name: function(getattr(state, field.name)) for field in dataclasses.fields(State)})


def make_env(seed=0, num_envs=NUM_ENVS, **task):
    """Return a PushEnv on a kinematic simulator."""
    config = TaskConfig(**task)
    simulator = KinematicSimulator(num_envs, team_size(config))
    return push_env_class(config)(simulator, config, seed)


def random_actions(seed=0, num_envs=NUM_ENVS, num_agents=NUM_AGENTS, scale=2.0):
    """Return actions of which many lie out of bounds."""
    return scale * torch.randn(num_envs, num_agents, 3, generator=torch.Generator().manual_seed(seed))


def rest():
    """Return actions that stop all robots."""
    return torch.zeros(NUM_ENVS, NUM_AGENTS, 3)


def put_object_at_goal(env, env_id):
    """Make `env_id` succeed in the next env step."""
    position = env.simulator.state().object_pos_w
    position[env_id, :2] = env.goal_pos_w[env_id, :2]
    position[env_id, 0] += 0.5
    env.simulator.place(object_pos_w=position)


def put_robots_together(env, env_id):
    """Make `env_id` end in a collision in the next env step."""
    position = env.simulator.state().robot_pos_w
    position[env_id, 1] = position[env_id, 0] + 0.1
    env.simulator.place(robot_pos_w=position)


def ended(transition):
    """Return the envs whose episode ended."""
    return transition.done.nonzero().flatten().tolist()
