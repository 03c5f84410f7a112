"""Contracts of HarlView: HARL gets what the environment returned, as copies that nobody else uses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from fakes import NUM_AGENTS, NUM_ENVS, make_env, put_object_at_goal, put_robots_together, random_actions

from mapush.env.harl_view import Box, HarlView
from mapush.env.recent_episodes import RecentEpisodes
from mapush.errors import NonFiniteError, SpecError

pytestmark = pytest.mark.contracts

OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 8, 20, 3
TIMED_OUT, SUCCEEDED, COLLIDED = 1, 2, 4  # envs that `end_episodes` ends


def as_harl_hands_over(actions):
    """Return actions (N, A, K) as HARL passes them: a view of an array with the agents first."""
    by_agent = np.array(actions.numpy().swapaxes(0, 1), order="C")
    return by_agent.swapaxes(0, 1)


def end_episodes(env):
    """Make three envs end in the next env step: one by the time limit, two by the task."""
    env._length[TIMED_OUT] = 1000
    put_object_at_goal(env, SUCCEEDED)
    put_robots_together(env, COLLIDED)


def play_both(steps=4, end_at=2, **kwargs):
    """Yield, step by step, what a view returns and what an equal env returns without a view."""
    view, env = HarlView(make_env(seed=3), **kwargs), make_env(seed=3)
    view.reset(), env.reset()
    for step in range(steps):
        if step == end_at:
            end_episodes(view.env), end_episodes(env)
        actions = random_actions(seed=step)
        yield view.step(as_harl_hands_over(actions)), env.step(actions)


def arrays_of(returned):
    """Return the arrays that `reset` or `step` returned, including those in infos."""
    found = [item for item in returned if isinstance(item, np.ndarray)]
    if len(returned) == 6:
        for info in infos_of(returned):
            found += [value for value in info.values() if isinstance(value, np.ndarray)]
    return found


def infos_of(returned):
    """Return the infos of all agents of all envs of a step, in one list."""
    return list(itertools.chain.from_iterable(returned[4]))


def test_reset_returns_the_observation_for_every_agent():
    """`reset` gives obs (N, A, D), share_obs (N, A, S) equal over agents, and None for each env."""
    obs, share_obs, available_actions = HarlView(make_env(seed=3)).reset()
    expected = make_env(seed=3).reset()
    assert obs.shape == (NUM_ENVS, NUM_AGENTS, OBS_DIM)
    assert obs.dtype == np.float32
    assert share_obs.shape == (NUM_ENVS, NUM_AGENTS, SHARE_OBS_DIM)
    assert share_obs.dtype == np.float32
    assert np.array_equal(obs, expected.obs.numpy())
    for agent in range(NUM_AGENTS):
        assert np.array_equal(share_obs[:, agent], expected.share_obs.numpy())
    assert available_actions == [None] * NUM_ENVS


def test_step_returns_what_the_environment_returns():
    """Observations, rewards and dones are the environment's for the same seed and actions, in HARL's shapes."""
    ends = 0
    for (obs, share_obs, rewards, dones, _, available_actions), expected in play_both():
        assert np.array_equal(obs, expected.observation.obs.numpy())
        assert obs.dtype == np.float32
        assert share_obs.dtype == rewards.dtype == np.float32
        assert dones.dtype == bool
        assert rewards.shape == (NUM_ENVS, NUM_AGENTS, 1)
        assert dones.shape == (NUM_ENVS, NUM_AGENTS)
        team = [sum(row) / NUM_AGENTS for row in expected.reward.tolist()]
        for agent in range(NUM_AGENTS):
            assert np.array_equal(share_obs[:, agent], expected.observation.share_obs.numpy())
            assert rewards[:, agent, 0] == pytest.approx(team, rel=1e-6)
            assert dones[:, agent].tolist() == expected.done.tolist()
        assert available_actions == [None] * NUM_ENVS
        ends += int(dones[:, 0].sum())
    assert ends == 3


def test_step_without_team_reward_returns_each_agents_own():
    """`team_reward=False` leaves every agent its own reward, and the rewards of a team differ."""
    for returned, expected in play_both(team_reward=False):
        assert np.array_equal(returned[2][..., 0], expected.reward.numpy())
        assert not torch.equal(expected.reward[:, 0], expected.reward[:, 1])


def test_infos_flag_the_time_limit_and_nothing_else():
    """`bad_transition` is True for every agent of an env that ran out of time, and absent everywhere else."""
    for step, (returned, _) in enumerate(play_both()):
        if step == 2:
            assert returned[3][[TIMED_OUT, SUCCEEDED, COLLIDED]].all()
        for env_id, infos in enumerate(returned[4]):
            expected = None
            if step == 2 and env_id == TIMED_OUT:
                expected = True
            assert [info.get("bad_transition") for info in infos] == [expected] * NUM_AGENTS


def test_infos_of_an_ended_episode_hold_its_outcome_and_last_observation():
    """At the end of an episode each agent's info holds the outcome and its own last observation; else it is empty."""
    for returned, expected in play_both():
        final, ended = expected.final_observation, expected.done.tolist()
        for env_id, infos in enumerate(returned[4]):
            assert len(infos) == NUM_AGENTS
            for agent, info in enumerate(infos):
                if not ended[env_id]:
                    assert info == {}
                    continue
                assert np.array_equal(info["final_obs"], final.obs[env_id, agent].numpy())
                assert np.array_equal(info["final_share_obs"], final.share_obs[env_id].numpy())
                assert not np.array_equal(info["final_obs"], returned[0][env_id, agent])
                assert list(info["outcome"]) == list(expected.outcome)
                for name, value in info["outcome"].items():
                    assert type(value) in (bool, int, float), name
                    assert value == expected.outcome[name][env_id].item(), name


def test_infos_are_different_objects_for_every_agent_env_and_step():
    """No two infos share a dict, an outcome or an array."""
    parts = []
    for returned, _ in play_both():
        for info in infos_of(returned):
            parts.append(info)
            parts += [value for value in info.values() if not isinstance(value, bool)]
    assert len({id(part) for part in parts}) == len(parts)


def test_returned_arrays_share_no_memory():
    """No returned array shares memory with another array, with those of earlier steps, or with the env's tensors."""
    view = HarlView(make_env())
    tensors = []

    def spy(call):
        def wrapped(*args):
            result = call(*args)
            observations = (
                result,
                getattr(result, "observation", result),
                getattr(result, "final_observation", result),
            )
            for item in observations:
                tensors.extend(value for value in vars(item).values() if torch.is_tensor(value))
            return result

        return wrapped

    view.env.reset, view.env.step = spy(view.env.reset), spy(view.env.step)
    arrays = arrays_of(view.reset())
    for step in range(3):
        end_episodes(view.env)
        arrays += arrays_of(view.step(as_harl_hands_over(random_actions(seed=step))))
    assert len(tensors) > 12
    assert len(arrays) > 30
    for index, array in enumerate(arrays):
        assert array.flags.owndata or array.base.base is None and array.flags.writeable
        assert not any(np.shares_memory(array, other) for other in arrays[:index])
        assert not any(np.shares_memory(array, tensor.numpy()) for tensor in tensors)


def test_step_neither_changes_nor_keeps_the_actions():
    """The caller's actions are neither changed nor kept: writing to them after the step has no effect."""
    first, second = HarlView(make_env()), HarlView(make_env())
    first.reset(), second.reset()
    actions = as_harl_hands_over(random_actions())
    before = actions.copy()
    first.step(actions)
    assert np.array_equal(actions, before)
    actions.fill(9.0)
    second.step(before)
    assert torch.equal(first.env.simulator.commands, second.env.simulator.commands)


@pytest.mark.parametrize("layout", ("transposed", "reversed", "read-only", "float64", "float16", "big-endian"))
def test_step_takes_floating_point_actions_in_any_layout(layout):
    """The memory layout and the floating-point type of the actions make no difference."""
    actions = (random_actions() * 4).round() / 4
    given = {
        "transposed": as_harl_hands_over(actions),
        "reversed": np.array(actions.numpy()[::-1], order="C")[::-1],
        "read-only": actions.numpy().copy(),
        "float64": actions.numpy().astype(np.float64),
        "float16": actions.numpy().astype(np.float16),
        "big-endian": actions.numpy().astype(">f4"),
    }[layout]
    given.flags.writeable = layout != "read-only"
    view, env = HarlView(make_env()), make_env()
    view.reset(), env.reset()
    assert np.array_equal(view.step(given)[0], env.step(actions).observation.obs.numpy())


@pytest.mark.parametrize(
    "given, message",
    (
        (np.zeros((2, 5, 3), np.float32), "the first two axes are swapped"),
        (np.zeros((5, 2), np.float32), r"actions\[num_envs=5, num_agents=2, action_dim=3\]"),
        (np.zeros((5, 1, 3), np.float32), r"shape \(5, 1, 3\)"),
        (np.zeros((5, 2, 3), np.int64), "Discrete"),
        (torch.zeros(5, 2, 3), "a numpy array"),
        (None, "a NoneType"),
    ),
)
def test_step_malformed_actions_are_refused_with_the_form_expected(given, message):
    """Actions of a different shape or type raise a SpecError that shows num_envs, num_agents and action_dim."""
    view = HarlView(make_env())
    view.reset()
    with pytest.raises(SpecError, match=message) as caught:
        view.step(given)
    assert "num_envs=5, num_agents=2, action_dim=3" in str(caught.value)
    assert view.env.simulator.steps == 0


@pytest.mark.parametrize("value", (math.nan, math.inf, 1e39))
def test_step_non_finite_action_names_its_place(value):
    """NaN, infinity, and values too large for float32 raise an error that names env, agent and axis."""
    view = HarlView(make_env())
    view.reset()
    actions = np.zeros((5, 2, 3))
    actions[3, 1, 2] = value
    with pytest.raises(NonFiniteError, match="num_envs 3, num_agents 1, action_dim 2"):
        view.step(actions)
    assert view.env.simulator.steps == 0


def test_step_raises_what_went_wrong_on_the_device():
    """An error that shows only when the host waits for the device is raised by the step that caused it."""
    view = HarlView(make_env())
    view.reset()

    def check():
        raise NonFiniteError("found late")

    view.env.check = check
    with pytest.raises(NonFiniteError, match="found late"):
        view.step(as_harl_hands_over(random_actions()))


def test_spaces_are_boxes_of_every_agent():
    """Each agent has a space whose class is called Box, with the sizes and bounds of the environment."""
    view = HarlView(make_env())
    assert (view.num_envs, view.n_agents) == (NUM_ENVS, NUM_AGENTS)
    spaces = (view.observation_space, view.share_observation_space, view.action_space)
    for per_agent, size, high in zip(spaces, (OBS_DIM, SHARE_OBS_DIM, ACTION_DIM), (math.inf, math.inf, 1.0)):
        assert len(per_agent) == NUM_AGENTS
        for space in per_agent:
            assert type(space).__name__ == "Box"
            assert space.shape == (size,)
            assert space.dtype == np.float32
            assert space.high.tolist() == [high] * size
            assert space.low.tolist() == [-high] * size


@pytest.mark.parametrize("low, high", ((-1.0, 2.0), (-math.inf, math.inf), (0.0, math.inf)))
def test_box_contains_what_it_samples(low, high):
    """Samples are members and repeat with their seed; values out of bounds or of a different form are not members."""
    box = Box(low, high, (4,))
    box.seed(7)
    samples = [box.sample() for _ in range(20)]
    box.seed(7)
    assert all(np.array_equal(sample, box.sample()) for sample in samples)
    assert all(box.contains(sample) and sample.dtype == np.float32 for sample in samples)
    assert not any(Box(*bounds, (4,)).contains(np.zeros(4)) for bounds in ((0.5, 2.0), (-2.0, -0.5)))
    assert not any(box.contains(wrong) for wrong in (np.zeros(3), np.full(4, np.nan), [0.0] * 4, np.array(["a"] * 4)))


def test_close_can_be_called_twice():
    """`close` can be called twice."""
    view = HarlView(make_env())
    view.close()
    view.close()


# -- statistics for a logger -----------------------------------------------------------------------------------------


def ended_view():
    """Return a view of five envs whose first three episodes have ended: a time-out, a success and a collision."""
    view = HarlView(make_env(seed=3))
    view.reset()
    end_episodes(view.env)
    view.step(as_harl_hands_over(random_actions(seed=1)))
    return view


def test_statistics_are_fractions_of_the_episodes_that_ended():
    """A logger that asks through `hasattr` finds the rates as fractions, with the number of episodes."""
    view = ended_view()
    found = view.get_statistics()
    assert found["num_episodes"] == 3
    assert found["success_rate"] == pytest.approx(1 / 3)
    assert found["collision_rate"] == pytest.approx(1 / 3)
    assert 0.0 <= found["collaboration_degree"] <= 1.0
    assert found["mean_length"] == pytest.approx((1001 + 1 + 1) / 3)


def test_statistics_after_a_reset_are_of_the_later_episodes_only():
    """`reset_statistics` forgets the episodes of the view, and leaves those of the environment alone."""
    view = ended_view()
    view.reset_statistics()
    found = view.get_statistics()
    assert found["num_episodes"] == 0
    assert all(math.isnan(value) for name, value in found.items() if name != "num_episodes")
    assert view.env.metrics.summary()["episodes"] == 3
    put_object_at_goal(view.env, 0)
    view.step(as_harl_hands_over(random_actions(seed=2)))
    assert (view.get_statistics()["num_episodes"], view.get_statistics()["success_rate"]) == (1, 1.0)


def test_statistics_of_a_long_run_stay_bounded():
    """Nobody resets them: the last 1,000 episodes are kept, and all are counted."""
    recent = RecentEpisodes()
    for number in range(2503):
        recent.add({"success": number >= 1903, "length": 7})
    assert recent.statistics()["num_episodes"] == 2503
    assert recent.statistics()["success_rate"] == pytest.approx(0.6)
    assert {len(values) for values in recent._kept.values()} == {0, 1000}
