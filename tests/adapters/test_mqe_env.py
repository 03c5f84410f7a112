"""Contracts of MqeEnv: on the fake of MQE it equals PushEnv, and it leaves upstream unchanged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from doubles import (
    NUM_ENVS,
    OBSERVATIONS,
    PAIRS,
    TOLERANCE,
    differences,
    forget_doubles,
    largest_difference,
    load_doubles,
    make_mqe,
    make_push,
    random_actions,
)

from mapush.config import TaskConfig
from mapush.env.harl_view import HarlView
from mapush.env.metrics import FirstEpisodes
from mapush.errors import ConfigError, MapushError, NonFiniteError, SimulatorError, SpecError
from mapush.objects import OBJECTS
from mapush.upstream.mqe_upstream import configure

pytestmark = pytest.mark.adapters


@pytest.fixture(autouse=True)
def upstream(monkeypatch):
    """Load the fakes, and unload them after the test."""
    load_doubles(monkeypatch)
    yield
    forget_doubles()


def simulators_of(*envs):
    found = []
    for env in envs:
        if hasattr(env, "_upstream"):
            found.append(env._upstream._simulator)
        else:
            found.append(env.simulator)
    return found


def end_some(step, mqe, push):
    """Let one env succeed, one collide and one reach the time limit, each in a different step."""
    goal = push.goal_pos_w.clone()
    for simulator in simulators_of(mqe, push):
        state = simulator.state()
        if step == 4:
            state.object_pos_w[2, :2] = goal[2, :2] + 0.4
        if step == 9:
            state.robot_pos_w[1] = state.object_pos_w[1]  # so the robots are also near the object
            state.robot_pos_w[1, :, 0] += 0.1 * torch.arange(mqe.num_agents)
        simulator.place(object_pos_w=state.object_pos_w, robot_pos_w=state.robot_pos_w)
    if step == 13:
        mqe._upstream.episode_length_buf[4] = push._length[4] = 999


@pytest.mark.parametrize("name", sorted(OBJECTS))
@pytest.mark.parametrize("quirks, hold", [(False, 1), (False, 4), (True, 1)])
def test_mqe_env_equals_push_env(name, quirks, hold):
    """For the same seed and actions, it returns what PushEnv returns, also when episodes end for any cause."""
    mqe, push = make_mqe(name, quirks, hold), make_push(name, quirks, hold)
    for simulator in simulators_of(mqe, push):
        simulator.object_velocity_w = torch.tensor([0.3, -0.2, 0.0]).repeat(NUM_ENVS, 1)
    first, expected = mqe.reset(), push.reset()
    for part in OBSERVATIONS:
        assert largest_difference(getattr(first, part), getattr(expected, part)) < TOLERANCE
    endings = set()
    for step in range(23):
        end_some(step, mqe, push)
        actions = random_actions(step, mqe.num_agents)
        mine, theirs = mqe.step(actions.clone()), push.step(actions.clone())
        for part, difference in differences(mine, theirs).items():
            assert difference < TOLERANCE, (step, part)
        for cause in ("success", "collision", "timeout"):
            if bool((theirs.outcome[cause] & theirs.done).any()):
                endings.add(cause)
    assert endings == {"success", "collision", "timeout"}
    if hold == 1:  # otherwise upstream also adds up rewards between the end of an episode and that of the decision
        summary, expected_summary = mqe.metrics.summary(), push.metrics.summary()
        for key, value in expected_summary.items():
            assert summary[key] == pytest.approx(value, abs=TOLERANCE, nan_ok=True), key


def test_mqe_env_first_episodes_equal_upstreams_metrics():
    """The metrics of the first episodes equal those in upstream's own buffers."""
    env, first = make_mqe(quirks=True), FirstEpisodes(NUM_ENVS)
    env.reset()
    simulator = env._upstream._simulator
    goal = env._roots()[:, -1, :2] - torch.tensor((12.0, 0.0))
    simulator.object_velocity_w[:3, :2] = 0.5 * goal[:3]  # these objects arrive, after 0.7 s or more
    while not first.complete:
        transition = env.step(torch.zeros(NUM_ENVS, 2, 3))
        first.add(transition.done, transition.outcome)
        if env._env_step == 200:
            env._upstream.episode_length_buf += 800
    upstream, metrics = env._upstream, first.metrics()
    finished = upstream.init_finished_buf
    assert metrics.success_rate == pytest.approx(finished.float().mean().item())
    assert 0 < metrics.success_rate < 1
    seconds = (upstream.init_episode_length_buf * upstream.dt).float().mean()
    assert metrics.finished_time == pytest.approx(seconds.item(), rel=1e-5)
    together = (upstream.collaboration_degree_buf / upstream.init_episode_length_buf)[finished].mean()
    assert metrics.collaboration_degree == pytest.approx(together.item(), nan_ok=True)


# -- upstream stays unchanged ------------------------------------------------------------------------------------------


def test_mqe_env_gives_the_simulation_exactly_its_contact_pairs():
    """Upstream multiplies the number by five in place; the simulation gets ours, and its classes keep theirs."""
    from mqe.envs.go1.go1_config import Go1Cfg

    env = make_mqe()
    assert env._upstream.sim._max_gpu_contact_pairs == PAIRS
    assert Go1Cfg.sim.physx.max_gpu_contact_pairs == 2**23


def test_mqe_env_changes_nothing_of_upstreams():
    """Upstream's registry entry, classes and defaults stay as they were; our task is a separate entry."""
    from mqe.envs.go1.go1_config import Go1Cfg
    from mqe.envs.utils import ENV_DICT

    entry, env_class = dict(ENV_DICT["go1push_mid"]), dict(vars(ENV_DICT["go1push_mid"]["class"]))
    make_mqe()
    assert ENV_DICT["go1push_mid"] == entry
    assert dict(vars(entry["class"])) == env_class
    assert (Go1Cfg.env.num_envs, Go1Cfg.env.record_video) == (256, True)
    assert Go1Cfg.control.actuator_network_path == "./resources/actuator_nets"
    assert Go1Cfg.rewards.scales.reach_target_reward_scale == 10
    assert not Go1Cfg.rewards.expanded_ocb_reward


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_mqe_env_uses_the_object_of_the_task(name, tmp_path, monkeypatch):
    """Neither the object that upstream trained last nor the working directory matters."""
    monkeypatch.chdir(tmp_path)
    env = make_mqe(name)
    assert env.num_agents == OBJECTS[name].num_agents
    outline = torch.tensor(env._upstream.cfg.asset.vertex_list)
    torch.testing.assert_close(outline, torch.tensor(OBJECTS[name].vertices))


def test_mqe_env_makes_no_camera_and_no_window_by_default():
    """A machine without Vulkan cannot have a camera, so recording is off unless it is requested."""
    env = make_mqe()
    assert env._upstream.headless
    assert not env._upstream.cfg.env.record_video


def test_arguments_have_all_that_upstream_reads():
    """The arguments are a real Namespace with every attribute that upstream may read."""
    import argparse

    from mapush.upstream.mqe_upstream import arguments

    read = "num_envs record_video seed physics_engine use_gpu subscenes use_gpu_pipeline num_threads sim_device"
    read += " headless device max_iterations resume experiment_name run_name load_run checkpoint"
    made = arguments(NUM_ENVS, 7, window=False, camera=False)
    assert isinstance(made, argparse.Namespace)
    assert set(read.split()) <= set(vars(made))
    assert (made.num_envs, made.seed, made.record_video, made.headless) == (NUM_ENVS, 7, False, True)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_second_mqe_env_in_a_process_is_refused():
    """Isaac Gym would crash; instead one message names a way out, also after the first env was closed."""
    make_mqe().close()
    with pytest.raises(SimulatorError, match="(?s)one simulation in a process.*child process"):
        make_mqe()


def test_mqe_env_with_quirks_and_held_actions_is_refused():
    """Upstream has no held actions; after this error the process can still make an environment."""
    with pytest.raises(ConfigError, match="no held actions"):
        make_mqe(quirks=True, hold=3)
    make_mqe()


def test_mqe_env_step_before_reset_is_refused():
    """A step without a previous `reset` is an error."""
    with pytest.raises(MapushError, match="step before reset"):
        make_mqe().step(torch.zeros(NUM_ENVS, 2, 3))


def test_mqe_env_with_transposed_actions_says_which_axes_are_swapped():
    """Actions with the agents in the first axis never reach upstream."""
    env = make_mqe()
    env.reset()
    with pytest.raises(SpecError, match="swapped"):
        env.step(torch.zeros(2, NUM_ENVS, 3))


def test_mqe_env_does_not_write_to_the_actions():
    """The caller's tensor stays unchanged."""
    env = make_mqe()
    actions = random_actions(0, 2)
    env.reset()
    before = actions.clone()
    env.step(actions)
    assert torch.equal(actions, before)


def test_mqe_env_takes_actions_between_minus_one_and_one():
    """The bounds of the actions are those of `PushEnv`."""
    mqe, push = make_mqe(), make_push()
    assert (mqe.action_spec.low, mqe.action_spec.high) == (-1.0, 1.0)
    assert (push.action_spec.low, push.action_spec.high) == (-1.0, 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("quirks", [False, True])
def test_mqe_env_with_a_non_finite_state_raises(quirks, value):
    """NaN or infinity in upstream's state is an error; with upstream's quirks it becomes 0, as in upstream."""
    env = make_mqe(quirks=quirks)
    env.reset()
    simulator = env._upstream._simulator
    position = simulator.state().robot_pos_w
    position[3, 1, 0] = value
    simulator.place(robot_pos_w=position)
    if not quirks:
        with pytest.raises(NonFiniteError, match="contact-pairs"):
            env.step(torch.zeros(NUM_ENVS, 2, 3))
        return
    observation = env.step(torch.zeros(NUM_ENVS, 2, 3)).observation
    for shown in (observation.obs, observation.share_obs):
        assert shown[3].abs().max() < 1e3, "neither infinite nor the largest float"


def test_mqe_env_of_a_different_version_names_what_is_missing(monkeypatch):
    """An MQE without a buffer that the adapter reads is refused with the name of the buffer."""
    from mqe.envs.npc.go1_object import Go1Object

    init = Go1Object._init_buffers

    def without(env):
        init(env)
        del env.time_out_buf

    monkeypatch.setattr(Go1Object, "_init_buffers", without)
    with pytest.raises(SimulatorError, match="(?s)different version.*lacks time_out_buf"):
        make_mqe()


def test_mqe_env_that_upstream_cannot_make_gives_one_message(monkeypatch):
    """An error that upstream raises, for example without a GPU, is quoted in one message."""
    monkeypatch.setattr("mqe._physics.make_simulator", lambda *_: torch.zeros(1, device="nowhere"))
    with pytest.raises(SimulatorError, match="(?s)could not make its environment.*RuntimeError.*doctor"):
        make_mqe()


def test_mqe_env_without_the_objects_configuration_names_its_path(monkeypatch, tmp_path):
    """The package mqe without the rest of MAPush's checkout has no task folder."""
    import mqe.envs.utils

    monkeypatch.setattr(mqe, "LEGGED_GYM_ROOT_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="(?s)configuration of this object is missing.*task/cuboid/config.py"):
        make_mqe()


def test_mqe_env_restores_its_statistics():
    """A resumed run keeps its statistics; its episodes start again."""
    env = make_mqe()
    env.reset()
    env._upstream.episode_length_buf[:] = 999
    for step in range(3):
        env.step(random_actions(step, 2))
    saved = env.state_dict()
    before = env.metrics.summary()
    everywhere = torch.ones(NUM_ENVS, dtype=torch.bool)
    env.metrics.add_episodes(everywhere, dict.fromkeys(env.metrics.names, torch.ones(NUM_ENVS)))
    env.load_state_dict(saved)
    assert env.metrics.summary() == pytest.approx(before, nan_ok=True)
    assert before["episodes"] == NUM_ENVS


def test_mqe_env_can_be_closed_twice():
    """The second call does nothing."""
    env = make_mqe()
    env.close()
    env.close()
    assert env._upstream.gym._destroyed


def test_mqe_env_updates_upstreams_observation_after_a_reset():
    """After a postponed reset, upstream's walking policy reads the new episode, as after upstream's own reset."""
    env = make_mqe()
    env.reset()
    env._upstream.episode_length_buf[3] = 1000
    assert env.step(torch.zeros(NUM_ENVS, 2, 3)).truncated.tolist() == [False, False, False, True, False]
    upstream = env._upstream
    seen = upstream.obs_buf.base_pos.view(NUM_ENVS, 2, 3)[3]
    torch.testing.assert_close(seen, upstream.root_states.view(NUM_ENVS, 2, 13)[3, :, :3] - upstream.env_origins[3])
    assert upstream.episode_length_buf.tolist() == [1, 1, 1, 0, 1]


def test_mqe_env_behind_harls_interface_marks_time_limits():
    """HARL gets `bad_transition` where the time limit ended an episode, and nowhere else."""
    env = make_mqe()
    view = HarlView(env)
    view.reset()
    upstream = env._upstream
    goal = env._roots()[2, -1, :2] - torch.tensor((12.0, 0.0))
    position = upstream._simulator.state().object_pos_w
    position[2, :2] = goal
    upstream._simulator.place(object_pos_w=position)
    upstream.episode_length_buf[4] = 1000
    actions = np.zeros((2, NUM_ENVS, 3), np.float32).transpose(1, 0, 2)  # as HARL passes them
    _, share_obs, rewards, dones, infos, available = view.step(actions)
    assert dones.all(axis=1).tolist() == [False, False, True, False, True]
    assert [bool(info[0].get("bad_transition")) for info in infos] == [False, False, False, False, True]
    assert infos[2][0]["outcome"]["success"]
    assert available == [None] * NUM_ENVS
    assert share_obs.shape == (NUM_ENVS, 2, 20)
    assert rewards.shape == (NUM_ENVS, 2, 1)


def test_object_that_mqe_lacks_is_refused_by_name(tmp_path):
    """A new object of ours has no configuration in MQE; the error says so instead of a KeyError."""
    with pytest.raises(ConfigError, match="MQE has no object 'plank'") as caught:
        configure(tmp_path, TaskConfig(object="plank"), num_envs=5, contact_pairs=1, camera=False)
    assert "cuboid" in caught.value.expected
