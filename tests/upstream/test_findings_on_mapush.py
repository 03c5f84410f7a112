"""What docs/mapush-findings.md says of MAPush, checked by hand: what a second environment and a reset change."""

from __future__ import annotations

import pytest
import torch
from mapush_code import freeze, make_wrapper, read_roots

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

MEMORY = ("joint_pos_err_last", "joint_pos_err_last_last", "joint_vel_last", "joint_vel_last_last")
ACTIONS = ("last_locomotion_action", "last_two_locomotion_action")


def test_second_environment_of_mapush_replaces_what_the_first_one_walks_by():
    """Both write their observations into one class, so the walking policy of the first reads those of the second."""
    first, second = make_wrapper("cuboid", 3), make_wrapper("cuboid", 3)
    for wrapper in (first, second):
        freeze(wrapper)
        wrapper.reset()
    first.env.dof_pos[:] = 0.5
    first.env.compute_observations()
    expected = first.env.obs_buf.dof_pos.clone()
    second.step(torch.zeros(3, 2, 3))
    first.step(torch.zeros(3, 2, 3))
    assert not torch.allclose(first.env.locomotion_obs[:, 18:30], expected)


def test_second_environment_of_another_size_breaks_the_first_one():
    """The error is one of shapes, in MAPush's file that makes the frame of the walking policy."""
    first = make_wrapper("cuboid", 3)
    freeze(first)
    first.reset()
    second = make_wrapper("cuboid", 5)
    freeze(second)
    second.reset()
    with pytest.raises(RuntimeError, match="expanded size of the tensor") as caught:
        first.step(torch.zeros(3, 2, 3))
    assert caught.traceback[-1].path.name == "go1.py"


def test_second_environment_of_mapush_changes_the_starts_of_the_first():
    """All draw from PyTorch's global generator, and making an environment seeds it again."""
    starts = []
    for others in (0, 1):
        wrapper = make_wrapper("cuboid", 3)
        freeze(wrapper)
        wrapper.reset()
        for _ in range(others):
            freeze(make_wrapper("cuboid", 4)).reset()
        wrapper.reset()
        starts.append(read_roots(wrapper.env))
    assert not torch.allclose(*starts)


@pytest.mark.parametrize("name", MEMORY + ACTIONS)
def test_reset_of_mapush_keeps_what_the_low_level_remembers(wrapper_of, name):
    """The inputs of the actuator network and the last actions of the walking policy survive the end of an episode."""
    wrapper = wrapper_of("cuboid")
    wrapper.reset()
    wrapper.step(torch.zeros(wrapper.num_envs, 2, 3))
    remembered = getattr(wrapper.env, name)
    remembered.fill_(0.7)
    wrapper.env.reset_idx(torch.arange(wrapper.num_envs))
    assert (getattr(wrapper.env, name) == 0.7).all()
    assert not wrapper.env.history_locomotion_obs.any()


def test_step_of_mapush_that_nobody_takes_after_an_end_shows_the_old_heading(wrapper_of):
    """The first observation of an episode has new positions and the last heading; one step later it has the new one."""
    wrapper = wrapper_of("tblock")
    env = wrapper.env
    wrapper.reset()
    wrapper.step(torch.zeros(env.num_envs, 2, 3))
    env.episode_length_buf[7] = 5000
    before = env.base_quat.view(env.num_envs, 2, 4)[7].clone()
    _, _, done, _ = wrapper.step(torch.zeros(env.num_envs, 2, 3))
    assert done[7]
    seen = env.obs_buf.base_rpy.view(env.num_envs, 2, 3)[7, :, 2].clone()
    assert torch.equal(env.base_quat.view(env.num_envs, 2, 4)[7], before)
    wrapper.step(torch.zeros(env.num_envs, 2, 3))
    now = env.obs_buf.base_rpy.view(env.num_envs, 2, 3)[7, :, 2]
    assert (now - seen).abs().min() > 1e-3
