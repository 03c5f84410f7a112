"""Contracts of the tracer: it records the states of an evaluation and changes none of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from walkers import untrained_walker

from mapush.assembly import make_push_env
from mapush.config import PushRunConfig, SimConfig, TaskConfig
from mapush.evaluate import first_episodes
from mapush.evaluation.episode import Frame
from mapush.evaluation.traces import Tracer
from mapush.sim.qpos_layout import rows_of
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NUM_ENVS, LONGEST, HELD = 5, 41, 7


class Team:
    """Robots that get different commands in each env and at each decision."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(3)

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return actions within the box."""
        return 2.0 * torch.rand(NUM_ENVS, 2, 3, generator=self._generator) - 1.0


@pytest.fixture()
def make_env(monkeypatch):
    """Return a factory of envs whose episodes last at most `LONGEST` env steps, and less where robots fall."""
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    monkeypatch.setattr("mapush.env.terminations.MAX_ROLL", 0.04)  # sooner or later, depending on the start
    for module in ("push", "terminations"):
        monkeypatch.setattr(f"mapush.env.{module}.MAX_EPISODE_LENGTH", LONGEST - 1)
    task = TaskConfig(object="cuboid", steps_per_decision=HELD)
    config = PushRunConfig(num_envs=NUM_ENVS, seed=4, sim=SimConfig("mujoco", threads=1), task=task)
    return lambda: make_push_env(config)


def watched(env):
    """Record every state and every command from now on, independently of the tracer."""
    seen = []
    step = env.simulator.step

    def keep(commands, state=None):
        state = step(commands, state)
        seen.append((rows_of(state)[0].clone().numpy(), commands.clone().numpy()))
        return state

    env.simulator.step = keep
    return seen


def test_trace_leaves_every_metric_bit_for_bit_unchanged(make_env):
    """An evaluation has the same score, whether it is traced or not."""
    plain, traced = make_env(), make_env()
    Tracer(traced)
    first, second = first_episodes(plain, Team()), first_episodes(traced, Team())
    assert repr(first.metrics()) == repr(second.metrics())
    for name, values in first.outcome.items():
        assert torch.equal(values, second.outcome[name]), name


def test_trace_holds_each_first_episode_from_its_start_to_its_end(make_env):
    """Rows are the simulator's states in order, with the commands that led there; nothing after the end is kept."""
    env = make_env()
    tracer, seen = Tracer(env), watched(env)
    starts = []
    reset = env.simulator.reset

    def keep_start(where, state):
        reset(where, state)
        starts.append(rows_of(state)[0].numpy())

    env.simulator.reset = keep_start
    first = first_episodes(env, Team())
    trace = tracer.trace(first.outcome)
    lengths = first.outcome["length"].tolist()
    decisions = [-(-length // HELD) for length in lengths]
    assert len(set(decisions)) > 1
    assert any(length % HELD for length in lengths)
    assert tracer.recorded_steps == HELD * sum(decisions), "recorded after the end"
    assert len(trace) == NUM_ENVS
    states = np.stack([qpos for qpos, _ in seen])
    commands = np.stack([given for _, given in seen])
    for env_id, length in enumerate(lengths):
        assert trace.qpos[env_id].shape == (length + 1, 45)
        assert trace.commands[env_id].shape == (length, 2, 3)
        assert np.array_equal(trace.qpos[env_id][1:], states[:length, env_id])
        assert np.array_equal(trace.commands[env_id], commands[:length, env_id])
        assert trace.qpos[env_id][0] == pytest.approx(starts[0][env_id], abs=1e-6)


def test_trace_knows_the_goals_of_the_first_episodes(make_env):
    """Goals are those of the first episodes, also for envs that have started a second one since."""
    env, other = make_env(), make_env()
    tracer = Tracer(env)
    other.reset()
    goals = other.goal_pos_w[:, :2].numpy()
    trace = tracer.trace(first_episodes(env, Team()).outcome)
    assert np.array_equal(trace.goals, goals)


def test_trace_gives_an_episode_as_frames(make_env):
    """The first frame shows the state after one step, as in live recordings; the outcome is that of the env."""
    env = make_env()
    tracer = Tracer(env)
    first = first_episodes(env, Team())
    trace = tracer.trace(first.outcome)
    episode = trace.episode(3)
    assert len(episode.frames) == int(first.outcome["length"][3]) == episode.outcome["length"]
    assert (episode.env_id, episode.number) == (3, 4)
    frame: Frame = episode.frames[-1]
    assert np.array_equal(frame.qpos, trace.qpos[3][-1])
    assert np.array_equal(frame.commands, trace.commands[3][-1])
    assert np.array_equal(frame.goal, trace.goals[3])
    endings = [name for name in ("success", "collision", "fall", "timeout") if first.outcome[name][3]]
    assert [episode.ending] == endings
