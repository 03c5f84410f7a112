"""`MqeEnv` over MAPush's own code against our task, through the same states, with and without upstream's quirks."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from mapush_code import (
    WEIGHTS,
    Ours,
    angle_gap,
    freeze,
    make_mqe,
    nearest_edge_is_clear,
    on_track,
    our_state,
    random_roots,
    read_roots,
    reward_gap,
    write_roots,
)

from mapush.config import TaskConfig
from mapush.objects import OBJECTS

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

NUM_ENVS = 37
NAMES = sorted(OBJECTS)
TOLERANCE = 1e-5
SHARE_OBS_TOLERANCE = 2e-5  # it has velocities and angular velocities, which are rotated twice
LATER = 1  # env steps by which MAPush's time limit is longer than ours; test_task_of_mapush.py says why


def task_of(name, quirks):
    """Return the task with weights for which every reward term matters."""
    return TaskConfig(object=name, reward=dataclasses.replace(WEIGHTS, expanded_ocb=True), upstream_quirks=quirks)


def compare(name, mqe, theirs, mine):
    """Compare two transitions, of MqeEnv and of our task."""
    for part in ("terminated", "truncated"):
        assert torch.equal(getattr(theirs, part), getattr(mine, part)), part
    for part in ("observation", "final_observation"):
        seen, expected = getattr(theirs, part), getattr(mine, part)
        assert angle_gap(seen.obs, expected.obs) < TOLERANCE, part
        gap = (seen.share_obs - expected.share_obs)[:, :-1].abs().max()  # the last is the remaining time
        assert gap < SHARE_OBS_TOLERANCE, part
    rewarded = mqe._judged.roots
    if mqe.task.upstream_quirks:
        rewarded = mqe._roots()
    clear = nearest_edge_is_clear(name, our_state(rewarded, torch.zeros(len(rewarded), 3))[0])
    assert reward_gap(theirs.reward, mine.reward, clear) < TOLERANCE
    for cause in ("success", "collision", "fall", "timeout", "collaboration"):
        assert torch.equal(theirs.outcome[cause] * mine.done, mine.outcome[cause] * mine.done), cause
    assert torch.equal(theirs.outcome["length"] * mine.done, mine.outcome["length"] * mine.done)


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_adapter_over_mapush_equals_our_task(mapush_code, name, quirks):
    """Observations, rewards, endings and outcomes are equal in 740 random states, time limits among them."""
    mqe = make_mqe(task_of(name, quirks), NUM_ENVS)
    upstream = freeze(mqe._wrapper)
    ours = Ours(mqe.task, upstream.env_origins)
    generator = torch.manual_seed(11)
    mqe.reset()
    ours.reset(read_roots(upstream))
    endings = torch.zeros(4)
    for step in range(20):
        if step == 13:
            upstream.episode_length_buf[::3] = 1000 + LATER
            ours.env._length[::3] = 1000
        judged = on_track(random_roots(name, NUM_ENVS, generator), upstream.env_origins)
        write_roots(upstream, judged)
        actions = 1.5 * torch.randn(NUM_ENVS, mqe.num_agents, 3, generator=generator)
        theirs = mqe.step(actions.clone())
        mine = ours.step(actions, judged, read_roots(upstream))
        if step == 13:  # both count on from there, but MAPush from one more
            theirs.outcome["length"][::3] -= LATER
            theirs.outcome["collaboration"][::3] *= (1000 + LATER + 1) / 1001
            mine.outcome["collaboration"][::3] = theirs.outcome["collaboration"][::3]
        compare(name, mqe, theirs, mine)
        commands = upstream.locomotion_obs[:, 3:6] / torch.tensor((2.0, 2.0, 0.25))
        torch.testing.assert_close(commands.view(actions.shape), ours.env.simulator.commands)
        for index, cause in enumerate(("success", "collision", "fall", "timeout")):
            endings[index] += float((mine.outcome[cause] & mine.done).sum())
        upstream.episode_length_buf[::3] -= LATER * (step == 13) * ~mine.done[::3]
    assert endings.min() >= 3, endings


@pytest.mark.parametrize("quirks", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_adapter_over_mapush_that_moves_equals_our_task(mapush_code, name, quirks):
    """The same with physics: MAPush simulates robots that stand, and draws the initial states."""
    mqe = make_mqe(task_of(name, quirks), 7)
    upstream = mqe._upstream
    ours = Ours(mqe.task, upstream.env_origins)
    torch.manual_seed(2)
    mqe.reset()
    before = read_roots(upstream)
    ours.reset(before)
    for _ in range(15):
        actions = torch.rand(7, mqe.num_agents, 3)
        theirs = mqe.step(actions)
        judged = mqe._judged.roots
        judged[..., :3] += upstream.env_origins.unsqueeze(1)
        mine = ours.step(actions, judged, read_roots(upstream))
        judged[..., :3] -= upstream.env_origins.unsqueeze(1)
        compare(name, mqe, theirs, mine)
    moved = (read_roots(upstream) - before)[:, : mqe.num_agents, 2].abs()
    assert 0.01 < moved.max() < 0.3, "robots settle"
