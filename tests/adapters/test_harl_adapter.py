"""Contracts of `--learner harl`: HARL computes the same as without the adapter, and its known problems are fixed."""

from __future__ import annotations

import dataclasses
import gc

import numpy as np
import pytest
import torch
from fakes import make_env
from harl_runs import ITERATIONS, NETWORK, NUM_ENVS, NUM_STEPS, Harl, make_ending_env, run_config
from runs import assert_same, rows

from benchmarks.harl import stock_runner
from mapush.assembly import make_agent, sizes_of
from mapush.env.harl_view import HarlView
from mapush.errors import CheckpointError, NonFiniteError
from mapush.happo.rollout import Rollout
from mapush.run import checkpoint as checkpoints
from mapush.train import Run
from mapush.upstream.harl import models
from mapush.upstream.harl.arguments import algo_args

pytestmark = [pytest.mark.adapters, pytest.mark.harl]


@pytest.fixture(autouse=True)
def one_thread():
    """Compute on one thread, and restore the global generator."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def logs():
    """Return a list; the logs in it are closed at the end of the test."""
    opened = []
    yield opened
    for log in opened:
        log.close()


def weights_of(runner):
    """Return everything that a runner has learned."""
    return {
        "actors": [dict(one.actor.state_dict()) for one in runner.actor],
        "critic": dict(runner.critic.critic.state_dict()),
        "value_norm": dict(runner.value_normalizer.state_dict()),
        "adam": runner.actor[0].actor_optimizer.state_dict(),
    }


def closed_counter(env):
    """Return a list that grows by one whenever `env` is closed."""
    closed = []
    close = env.close

    def close_and_count():
        closed.append(env)
        close()

    env.close = close_and_count
    return closed


# -- the same numbers ------------------------------------------------------------------------------------------------


def test_adapter_learns_what_the_stock_runner_learns(tmp_path, logs):
    """With the same seed, settings and environment, all parameters and Adam's moments are bit for bit the same.

    Episodes of the run end by the time limit and by success.
    """
    ours = Harl(tmp_path / "ours", logs)
    ours.runner.run()
    with stock_runner(algo_args(run_config(), {}), HarlView(make_ending_env()), tmp_path / "stock") as stock:
        before = weights_of(stock)["critic"]["v_out.weight"].clone()
        stock.run()
    assert ours.logger.iteration == ITERATIONS
    assert_same(weights_of(ours.runner), weights_of(stock))
    assert not torch.equal(before, stock.critic.critic.state_dict()["v_out.weight"])


def test_adapter_evaluates_as_the_stock_runner_does_in_a_separate_env(tmp_path, logs):
    """Evaluation gives upstream's return, steps only its own env, and leaves the training unchanged."""
    config = run_config(harl=dataclasses.replace(run_config().harl, eval_episodes=2), checkpoint_every=35)
    evals = [make_eval_env(), make_eval_env()]
    ours = Harl(tmp_path / "ours", logs, config, eval_env=evals[0])
    written = []
    ours.log.scalar = lambda name, value, step: written.append((name, value, step))
    ours.runner.run()
    view, eval_view = HarlView(make_ending_env()), HarlView(evals[1])
    with stock_runner(algo_args(config, {}), view, tmp_path / "stock", eval_view) as stock:
        stock.run()
    returns = [line.split(",") for line in (tmp_path / "stock" / "progress.txt").read_text().split()]
    assert [step for _, _, step in written] == [35, 70, 105]
    assert [int(step) for step, _ in returns] == [35, 70, 105]
    assert [value for _, value, _ in written] == pytest.approx([float(value) for _, value in returns], rel=1e-5)
    assert {name for name, _, _ in written} == {"eval/return"}
    assert ours.env.simulator.steps == ITERATIONS * NUM_STEPS
    assert evals[0].simulator.steps > 0
    assert_same(weights_of(ours.runner), weights_of(stock))


def make_eval_env():
    """Return an environment whose episodes start three steps before the time limit."""
    env = make_env(seed=8, num_envs=2)
    reset = env.reset

    def reset_near_the_end():
        observation = reset()
        env._length = env._length + 997
        return observation

    env.reset = reset_near_the_end
    return env


def test_native_learner_agrees_with_harl(tmp_path, logs):
    """From the same weights, with the same random numbers, the native learner reaches HARL's parameters within 1e-5.

    HARL's EP mode learns from agent 0's reward and the native learner from the team's mean; `HarlView` gives all agents
    the same reward.
    """
    config = run_config()
    harl, env = Harl(tmp_path, logs), make_ending_env()
    agent = make_agent(config, sizes_of(env))
    agent.load_actors([one.actor.state_dict() for one in harl.runner.actor])
    agent.critic.load_state_dict(harl.runner.critic.critic.state_dict())
    harl.logger.episode_init = torch.manual_seed  # before every rollout
    harl.runner.run()
    first = env.reset()
    run = Run(config, env, agent, Rollout(NUM_STEPS, NUM_ENVS, device=agent.device, **sizes_of(env)))
    run.rollout.start(first.obs, first.share_obs)
    for iteration in range(1, ITERATIONS + 1):
        agent.generator.manual_seed(iteration)
        run.iterate()
    learned, theirs = agent.state_dict(), weights_of(harl.runner)
    for mine, expected in zip(learned["actors"], theirs["actors"]):
        assert_close(mine, expected)
    for part in ("critic", "value_norm"):
        assert_close(learned[part], theirs[part])


def assert_close(weights, expected):
    """Assert that weights agree within 1e-5."""
    for name, value in expected.items():
        assert weights[name].numpy() == pytest.approx(value.numpy(), abs=1e-5), name


# -- reports ---------------------------------------------------------------------------------------------------------


def test_run_tells_the_environments_statistics(tmp_path, logs):
    """Log file and CSV show the environment's success and reward terms, and losses under the native names."""
    harl = Harl(tmp_path, logs)
    harl.runner.run()
    said = (tmp_path / "train.log").read_text()
    assert "[MAPush Stats] Success: 0.333 | Collision: 0.000 | Episodes: 3" in said
    assert said.count("updates ") == ITERATIONS
    assert "updates 3/3 episodes, total num timesteps 105/105" in said
    written = rows(tmp_path)
    assert [row["step"] for row in written] == ["35", "70", "105"]
    native = {"policy_loss", "entropy", "ratio", "actor_grad_norm", "value_loss", "critic_grad_norm"}
    expected = {f"train/{name}" for name in native} | {"reward/target", "episode/success"}
    assert expected <= set(written[0])


def test_nothing_grows_with_the_length_of_a_run(tmp_path, logs):
    """Between iterations 5 and 25, the number of objects in the process stays the same."""
    config = run_config(total_steps=25 * 35, checkpoint_every=25 * 35, log_interval=25)
    harl, counts = Harl(tmp_path, logs, config), []
    begin = harl.logger.episode_init

    def count(episode):
        begin(episode)
        if episode in (5, 25):
            harl.runner.writter.add_scalars("agent0/ratio", {"agent0/ratio": 1.0}, episode)
            gc.collect()
            counts.append(len(gc.get_objects()))

    harl.logger.episode_init = count
    harl.runner.run()
    assert counts[1] - counts[0] < 20
    for name, value in vars(harl.runner.writter).items():
        assert not (isinstance(value, (list, dict)) and value), name


# -- endings ---------------------------------------------------------------------------------------------------------


def test_environments_are_closed_when_training_raises(tmp_path, logs):
    """An error in a step closes both environments, saves nothing, and names the env step."""
    env, eval_env = make_ending_env(), make_env(seed=8, num_envs=2)
    closed = closed_counter(env), closed_counter(eval_env)
    step, steps = env.step, []

    def fail(actions):
        steps.append(actions)
        if len(steps) == 9:
            raise NonFiniteError("obs is not finite")
        return step(actions)

    env.step = fail
    harl = Harl(tmp_path, logs, env=env, eval_env=eval_env)
    with pytest.raises(NonFiniteError) as caught:
        harl.runner.run()
    assert [len(each) for each in closed] == [1, 1]
    assert caught.value.where == "env step 40"
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("what", ["a reward", "a weight"])
def test_non_finite_numbers_end_the_run_before_they_are_saved(tmp_path, logs, what):
    """A NaN in a rollout or in weights ends the run with one message and leaves no checkpoint."""
    harl = Harl(tmp_path, logs, run_config(checkpoint_every=35))
    if what == "a reward":
        insert = harl.runner.insert
        harl.runner.insert = lambda data: insert(data[:2] + (data[2] * np.nan,) + data[3:])
    else:
        train_critic = harl.runner.critic.train

        def lose(*arguments):
            with torch.no_grad():
                next(harl.runner.critic.critic.parameters()).fill_(np.nan)
            return train_critic(*arguments)

        harl.runner.critic.train = lose
    message = "critic are not finite"
    if what == "a reward":
        message = "returns are not finite"
    with pytest.raises(NonFiniteError, match=message):
        harl.runner.run()
    assert not (tmp_path / "models").exists()


def test_stop_request_saves_what_was_learned(tmp_path, logs):
    """A stop request in the second rollout acts immediately, and the weights of the first update are saved."""
    harl = Harl(tmp_path, logs, stopped=lambda: harl.logger.step >= 50)
    harl.runner.run()
    assert harl.logger.step == 50
    assert_same(
        dict(models.read(tmp_path / "models", harl.config).agent["actors"][1]), weights_of(harl.runner)["actors"][1]
    )


def test_weights_that_cannot_be_written_raise_a_checkpoint_error(tmp_path, logs):
    """A full disk gives a CheckpointError instead of an error of torch."""
    harl = Harl(tmp_path, logs)
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(CheckpointError, match="HARL's models could not be written"):
        harl.runner.save()


# -- checkpoints, both ways ------------------------------------------------------------------------------------------


def test_checkpoint_of_harl_acts_as_in_harl(tmp_path, logs):
    """A checkpoint that HARL saved gives the same actions, values and value statistics here."""
    harl = Harl(tmp_path, logs)
    harl.runner.run()
    saved = models.read(tmp_path / "models", harl.config, step=105)
    assert saved.sizes == sizes_of(harl.env)
    agent = make_agent(saved.config, saved.sizes)
    agent.load_actors(saved.agent["actors"])
    agent.critic.load_state_dict(saved.agent["critic"])
    agent.value_norm.load_state_dict(saved.agent["value_norm"])
    obs, state = torch.randn(NUM_ENVS, 2, 8), torch.randn(NUM_ENVS, saved.sizes["share_obs_dim"])
    assert_acts_alike(harl.runner, agent, obs, state)
    assert float(agent.value_norm.debiasing_term) > 0


def test_exported_policy_is_restored_by_the_stock_runner(tmp_path):
    """A policy that is trained here and exported acts the same after HARL's own `restore`."""
    env = make_ending_env()
    agent = make_agent(run_config(), sizes_of(env))
    agent.value_norm.update(torch.full((4, 1), 2.5))
    exported = checkpoints.Checkpoint(run_config(), 0, sizes_of(env), agent.state_dict(), {})
    arguments = algo_args(run_config(seed=12), {})
    arguments["train"]["model_dir"] = str(models.write(exported, tmp_path / "exported"))
    obs, state = torch.randn(NUM_ENVS, 2, 8), torch.randn(NUM_ENVS, sizes_of(env)["share_obs_dim"])
    with stock_runner(arguments, HarlView(env), tmp_path / "stock") as stock:
        assert_acts_alike(stock, agent, obs, state)


def assert_acts_alike(runner, agent, obs, state):
    """Assert that a runner of HARL and a native learner give the same actions and values."""
    memory, masks = np.zeros((NUM_ENVS, 1, NETWORK.hidden_sizes[-1]), np.float32), np.ones((NUM_ENVS, 1), np.float32)
    ours = agent.act_deterministic(obs)
    for index in range(2):
        action, _ = runner.actor[index].act(obs[:, index].numpy(), memory, masks, deterministic=True)
        assert ours[:, index].numpy() == pytest.approx(action.detach().numpy(), abs=1e-6)
    values, _ = runner.critic.get_values(state.numpy(), memory, masks)
    assert agent.value(state).numpy() == pytest.approx(values.detach().numpy(), abs=1e-6)
    expected = runner.value_normalizer.denormalize(values.detach().numpy())
    assert agent.value_norm.denormalize(values.detach()).numpy() == pytest.approx(expected, abs=1e-5)


def test_value_statistics_are_saved_where_upstream_leaves_plain_tensors(tmp_path, logs, monkeypatch):
    """Statistics that are missing from HARL's `state_dict` because they were moved to a GPU are saved."""
    from mapush.upstream.harl import runner

    class Moved(runner._HARL.ValueNorm):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            for name in ("running_mean", "running_mean_sq", "debiasing_term"):
                moved = getattr(self, name).detach().clone()  # the result of `.to` on a different device
                delattr(self, name)
                setattr(self, name, moved)

    assert Moved(1).state_dict() == {}
    monkeypatch.setattr(runner, "_HARL", dataclasses.replace(runner._HARL, ValueNorm=Moved))
    harl = Harl(tmp_path, logs)
    harl.runner.run()
    saved = models.read(tmp_path / "models", harl.config).agent["value_norm"]
    assert float(saved["debiasing_term"]) > 0
    assert float(saved["running_mean"]) != 0
    live = {name: getattr(harl.runner.value_normalizer, name) for name in saved}
    values = torch.ones(3, 1)
    mean = saved["running_mean"] / saved["debiasing_term"]
    std = harl.runner.value_normalizer.running_mean_var()[1].sqrt()
    for name, statistic in saved.items():
        assert torch.equal(live[name].detach(), statistic), name
    assert harl.runner.value_normalizer.denormalize(values) == pytest.approx((values * std + mean).detach().numpy())
