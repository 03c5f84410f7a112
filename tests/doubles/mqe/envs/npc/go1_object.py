"""Robots, an object and a goal: upstream's env step, in upstream's order and with its bugs."""

from __future__ import annotations

from copy import copy
from typing import Any, Dict, Tuple

import numpy as np
import torch
from isaacgym import gymapi, torch_utils  # noqa: F401

from mapush.env.resets import Spawner
from mapush.sim.geometry import pairwise_distance, positive_angle, roll_of, yaw_of
from mqe import _physics

_ORIGIN = (1.0, 13.0, 0.0)  # of the track, in the world frame [m]


class Go1Object:
    """`cfg.env.num_envs` teams.

    Upstream's checks of pitch, of the goal's height and of obstacles never end an episode, so they are left out.
    """

    def __init__(self, cfg: Any, sim_params: Any, physics_engine: int, sim_device: str, headless: bool) -> None:
        self.cfg = cfg
        self.headless = headless
        self.gym = gymapi.acquire_gym()
        self.sim_params = sim_params
        self.sim_params.physx.max_gpu_contact_pairs *= 5
        self.physics_engine = physics_engine
        self.device = "cpu"
        if sim_device.startswith("cuda") and sim_params.use_gpu_pipeline:
            self.device = sim_device
        self.num_envs, self.num_agents = cfg.env.num_envs, cfg.env.num_agents
        self.num_npcs, self.num_obs = cfg.env.num_npcs, getattr(cfg.env, "num_obs", 0)
        self.dt = cfg.control.decimation * sim_params.dt
        self.max_episode_length = np.ceil(cfg.env.episode_length_s / self.dt)
        self.viewer = None
        if not headless:
            self.viewer = object()
        self.record_now = False
        self.video_frames = []
        self.complete_video_frames = []
        self.create_sim()
        self._init_buffers()
        for path in (
            f"{cfg.control.actuator_network_path}/unitree_go1.pt",
            f"{cfg.control.locomotion_policy_dir}/body_latest.jit",
        ):
            with open(path):
                pass

    def create_sim(self) -> None:
        """Make the simulation; its parameters cannot be changed afterwards."""
        self.sim = self.gym.create_sim(0, 0, self.physics_engine, self.sim_params)
        seed = torch.initial_seed()
        self._simulator = _physics.make_simulator(self.cfg, seed)
        item = _physics.object_of(self.cfg)
        self._spawn_height = item.spawn_height + _physics.FLOOR
        self._spawner = Spawner(item, self.num_envs, torch.Generator().manual_seed(seed), min_separation=0.0)

    def _init_buffers(self) -> None:
        def flags() -> torch.Tensor:
            return torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

        self.env_origins = torch.tensor(_ORIGIN, device=self.device).repeat(self.num_envs, 1)
        self.root_states_npc = torch.zeros((self.num_envs * self.num_npcs, 13), device=self.device)
        self._refresh()
        self.base_quat = self.root_states[:, 3:7]
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self.rew_buf = torch.zeros(self.num_envs * self.num_agents, device=self.device)
        self.reset_buf = torch.ones(self.num_envs, dtype=torch.long, device=self.device)
        self.finished_buf, self.value_exception_buf, self.time_out_buf = flags(), flags(), flags()
        self.init_reset_buf, self.init_finished_buf = flags(), flags()
        self.init_episode_length_buf = torch.full_like(self.episode_length_buf, int(self.max_episode_length))
        self.collaboration_degree_buf = torch.zeros(self.num_envs, device=self.device)
        self.collision_degree_buf = torch.zeros(self.num_envs, device=self.device)
        self.obs_buf = copy(self.cfg.obs)  # of a class, copy returns the class itself
        self.extras: Dict[str, Any] = {}

    def _refresh(self) -> None:
        """Read the simulation into new tensors; the goal is not part of it."""
        robots, thing = self._simulated()
        npcs = self.root_states_npc.view(self.num_envs, self.num_npcs, 13).clone()
        npcs[:, 0] = thing
        self.root_states, self.root_states_npc = robots.reshape(-1, 13), npcs.view(-1, 13)
        self.base_pos = self.root_states[:, :3]

    def _simulated(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return the root states of robots (E, A, 13) and object (E, 13), in the world frame."""
        robots, thing = _physics.root_states(self._simulator.state())
        robots, thing = robots.to(self.device), thing.to(self.device)
        robots[..., :3] += self.env_origins[:, None]
        thing[..., :3] += self.env_origins
        return robots, thing

    def step(self, action: torch.Tensor) -> Tuple[Any, torch.Tensor, torch.Tensor, Dict[str, Any]]:
        """Take an env step with the actions (E * A, 3) [m/s, m/s, rad/s]."""
        action = torch.clip(action, -1, 1)
        self._simulator.step(action.reshape(self.num_envs, self.num_agents, 3).cpu())
        if self.record_now and len(self.complete_video_frames) == 0:
            self.video_frames.append(np.zeros((8, 16, 4), np.uint8))
        self.post_physics_step()
        return self.obs_buf, self.rew_buf, self.reset_buf, self.extras

    def post_physics_step(self) -> None:
        """Judge, reset and observe, in this order."""
        self.episode_length_buf += 1
        self._refresh()
        self.base_quat[:] = self.root_states[:, 3:7]
        self.check_termination()
        self.reset_idx(self.reset_buf.nonzero(as_tuple=False).flatten())
        self.compute_observations()

    def check_termination(self) -> None:
        """Set the flags, and the metrics of each env's first episode."""
        robots, thing, goal = self._bodies()
        limits = self.cfg.termination
        self.time_out_buf = self.episode_length_buf > self.max_episode_length
        self.finished_buf = torch.norm(thing[:, :2] - goal[:, :2], dim=1) < self.cfg.goal.THRESHOLD
        quat = torch.cat((self.base_quat[:, 3:], self.base_quat[:, :3]), dim=1)
        roll = roll_of(quat).view(self.num_envs, -1)
        self.r_term_buff = (roll.abs() > limits.roll_kwargs["threshold"]).any(1)
        height = limits.z_wave_kwargs["threshold"]
        self.z_wave_term_buff = ((robots[..., 2] - 0.45).abs() > height).any(1)
        self.z_wave_term_buff |= (thing[:, 2] - self._spawn_height).abs() > height
        near = pairwise_distance(robots[..., :3]) < limits.collision_kwargs["threshold"]
        self.collision_term_buff = near.flatten(1).any(1)
        self.exception_buf = self.r_term_buff | self.z_wave_term_buff | self.collision_term_buff
        self.reset_buf = self.time_out_buf | self.finished_buf | self.value_exception_buf | self.exception_buf
        first = ~self.init_reset_buf & self.finished_buf & ~self.init_finished_buf
        self.init_finished_buf |= first
        self.init_episode_length_buf[first] = self.episode_length_buf[first]
        together = (torch.norm(robots[..., :2] - thing[:, None, :2], dim=2) < 1.0).all(1)
        self.collaboration_degree_buf[together & ~self.init_reset_buf] += 1
        self.init_reset_buf |= self.reset_buf

    def _bodies(self) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the root states of robots (E, A, 13), object and goal (E, 13), relative to the track."""
        robots = self.root_states.view(self.num_envs, -1, 13).clone()
        npcs = self.root_states_npc.view(self.num_envs, -1, 13).clone()
        robots[..., :3] -= self.env_origins[:, None]
        npcs[..., :3] -= self.env_origins[:, None]
        return robots, npcs[:, 0], npcs[:, 1]

    def reset_idx(self, env_ids: torch.Tensor) -> None:
        """Start new episodes; `base_quat` is not updated."""
        self.reset_ids = env_ids
        if len(env_ids) == 0:
            return
        self.extras["time_outs"] = self.time_out_buf
        spawn, goal = self._spawner.draw()
        where = torch.zeros(self.num_envs, dtype=torch.bool)
        where[env_ids.cpu()] = True
        self._simulator.reset(where, spawn)
        robots, thing = self._simulated()
        centre = self.env_origins + torch.tensor((_physics.CENTRE, 0.0, _physics.FLOOR), device=self.device)
        self.root_states.view(self.num_envs, -1, 13)[env_ids] = robots[env_ids]
        npcs = self.root_states_npc.view(self.num_envs, -1, 13)
        npcs[env_ids, 0] = thing[env_ids]
        npcs[env_ids, 1] = 0.0
        npcs[env_ids, 1, :3] = (goal.to(self.device) + centre)[env_ids]
        self.episode_length_buf[env_ids] = 0
        self.reset_buf[env_ids] = 1
        self._store_recording(env_ids)

    def reset(self) -> Any:
        """Start new episodes in all envs, without a physics step."""
        self.reset_idx(torch.arange(self.num_envs, device=self.device))
        self.compute_observations()
        return self.obs_buf

    def compute_observations(self) -> None:
        """Fill the buffer that the wrapper reads."""
        self.obs_buf.base_pos = self.base_pos - self.env_origins.repeat_interleave(self.num_agents, dim=0)
        quat = torch.cat((self.base_quat[:, 3:], self.base_quat[:, :3]), dim=1)
        angles = (roll_of(quat), _pitch_of(quat), yaw_of(quat))
        self.obs_buf.base_rpy = torch.stack([positive_angle(angle) for angle in angles], dim=1)

    def start_recording(self) -> None:
        """Record the next episode of env 0."""
        assert self.cfg.env.record_video, "there is no camera"
        self.complete_video_frames, self.record_now = [], True

    def get_complete_frames(self) -> Any:
        """Return the frames of the episode that ended last."""
        return self.complete_video_frames

    def _store_recording(self, env_ids: torch.Tensor) -> None:
        if self.cfg.env.record_video and 0 in env_ids:
            self.complete_video_frames, self.video_frames = self.video_frames[:], []


def _pitch_of(quat: torch.Tensor) -> torch.Tensor:
    """Return the rotation about y of quaternions wxyz (N, 4)."""
    w, x, y, z = quat.unbind(-1)
    return torch.asin((2.0 * (w * y - z * x)).clamp(-1.0, 1.0))
