"""Contracts of a run that meets a NaN: it stops where that happened, and its dump replays to the same place."""

from __future__ import annotations

import copy
import dataclasses
import os
import signal

import pytest
import torch
from runs import ROLLOUT, assert_same, tiny

from mapush import checkpoint as checkpoints
from mapush import replay as replaying
from mapush.env.walk import WalkEnv
from mapush.errors import CheckpointError, NonFiniteError, SimulatorError
from mapush.happo.happo import Happo
from mapush.replay import replay
from mapush.run_dir import read_config
from mapush.train import NON_FINITE, Run, main, train

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]

BAD_ENV, BAD_STEP = 3, 4 * ROLLOUT + 20  # in the fifth rollout


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute on one thread: the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in a folder of its own: MuJoCo logs what it warns of in the current one."""
    monkeypatch.chdir(tmp_path)


def poison_physics(monkeypatch):
    """Let the velocity of one robot become NaN in the env step after `BAD_STEP`."""
    step = WalkEnv.step

    def poisoned(env, actions):
        if int(env._buffers["age"][0]) == BAD_STEP // env.num_envs:
            env.physics._qvel[BAD_ENV, 2] = float("nan")
        return step(env, actions)

    monkeypatch.setattr(WalkEnv, "step", poisoned)


def poison_reward(monkeypatch):
    """Let the reward of one env become NaN in the env step after `BAD_STEP`."""
    rewards = WalkEnv._rewards

    def poisoned(env, *args):
        terms = rewards(env, *args)
        if int(env._buffers["age"][0]) == BAD_STEP // env.num_envs + 1:
            terms["height"][BAD_ENV] = float("nan")
        return terms

    monkeypatch.setattr(WalkEnv, "_rewards", poisoned)


def poison_weights(monkeypatch):
    """Let the actor lose a weight in the fifth update."""
    set_progress = Happo.set_progress

    def poisoned(agent, fraction):
        set_progress(agent, fraction)
        if fraction == 0.5:
            next(agent.actors[0].parameters()).data[0] = float("nan")

    monkeypatch.setattr(Happo, "set_progress", poisoned)


@pytest.mark.parametrize(
    "poison, kind, said",
    [
        (poison_physics, SimulatorError, ["env 3", "env step {}".format(BAD_STEP)]),
        (poison_reward, NonFiniteError, ["rewards", "step 4, env 3, agent 0", "env step {}".format(5 * ROLLOUT)]),
        (poison_weights, NonFiniteError, ["agent0/", "env step {}".format(5 * ROLLOUT)]),
    ],
)
def test_non_finite_number_stops_the_run_and_replays(tmp_path, monkeypatch, poison, kind, said):
    """The error names env, agent, field and env step; its dump fails alike in a replay, and only of the same cause."""
    with monkeypatch.context() as patch:
        poison(patch)
        with pytest.raises(kind) as failed:
            train(tiny(), tmp_path / "run")
        for words in said:
            assert words in str(failed.value)
        dump = tmp_path / "run" / NON_FINITE
        assert "python -m mapush.replay {}".format(dump) in failed.value.fix
        with pytest.raises(kind) as again:
            replay(dump)
        told = [(error.value.what, error.value.where, error.value.got) for error in (failed, again)]
        assert told[0] == told[1]
    assert replay(dump) == ROLLOUT


def test_dump_is_the_state_before_the_iteration(tmp_path, monkeypatch):
    """What is dumped is, to the bit, what a checkpoint at the beginning of the iteration holds."""
    poison_physics(monkeypatch)
    with pytest.raises(SimulatorError):
        train(dataclasses.replace(tiny(), checkpoint_every=ROLLOUT), tmp_path / "run")
    dump = checkpoints.load(tmp_path / "run" / NON_FINITE)
    saved = checkpoints.load(checkpoints.latest(tmp_path / "run"))
    assert dump.step == saved.step == 4 * ROLLOUT
    assert_same(dump.agent, saved.agent, "agent")
    assert_same(dump.run, saved.run, "run")


def test_snapshot_is_not_changed_by_what_comes_later(tmp_path):
    """A snapshot shares no memory with the run: neither another iteration nor in-place changes reach it."""
    run = Run.start(tiny())
    run.iterate()
    for _ in range(3):
        run.advance()
    snapshot = run.snapshot()
    kept = copy.deepcopy((snapshot.agent, snapshot.run))
    run.iterate()
    run.iterate()
    assert_same((snapshot.agent, snapshot.run), kept)
    run.close()


def test_run_stopped_in_a_rollout_fails_after_resume_with_a_dump(tmp_path, monkeypatch):
    """The first iteration after a resume has a dump, too: it begins in the middle of a rollout."""
    folder, advance = tmp_path / "run", Run.advance

    def stop(run):
        if run.step == BAD_STEP - 10:
            os.kill(os.getpid(), signal.SIGTERM)
        advance(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "advance", stop)
        with pytest.raises(SystemExit) as stopped:
            train(tiny(), folder)
        assert stopped.value.code == 128 + signal.SIGTERM
    poison_physics(monkeypatch)
    with pytest.raises(SimulatorError):
        train(read_config(folder), folder, resume=True)
    assert checkpoints.load(folder / NON_FINITE).step == BAD_STEP - 5
    with pytest.raises(SimulatorError, match="the physics diverged") as again:
        replay(folder / NON_FINITE)
    assert "env step {}".format(BAD_STEP) in again.value.where


def test_lost_weights_are_found_in_the_next_env_step(tmp_path):
    """A weight that is NaN shows in the actions, with agent, before it reaches the physics."""
    run = Run.start(tiny())
    run.advance()
    for weights in run.agent.actors[0].parameters():
        weights.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError) as caught:
        run.iterate()
    assert "actions" in caught.value.what and "num_agents 0" in caught.value.where
    assert caught.value.where.endswith("env step 5")
    run.close()


def test_command_replays_and_reports(tmp_path, monkeypatch, capsys):
    """`python -m mapush.replay FILE` exits with 2 and the error, or with 0 if all went well this time."""
    folder = tmp_path / "run"
    flags = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --sim.threads 1 --total-steps 350".split()
    monkeypatch.setattr("sys.argv", ["replay", str(folder / NON_FINITE)])
    with monkeypatch.context() as patch:
        poison_physics(patch)
        assert main(flags + ["--run-dir", str(folder)]) == 2
        first = capsys.readouterr().err
        assert replaying.main() == 2
        second = capsys.readouterr().err
    assert first.splitlines()[:3] == second.splitlines()[:3]
    assert replaying.main() == 0
    assert "35 env steps" in capsys.readouterr().out


def test_replay_without_dump_is_an_error(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        replay(tmp_path / "none.pt")


def test_replay_of_a_policy_is_an_error(tmp_path):
    """A checkpoint that holds a policy, but no run, is refused."""
    run = Run.start(tiny())
    path = checkpoints.save(dataclasses.replace(run.snapshot(), run={}), tmp_path / "policy.pt")
    run.close()
    with pytest.raises(CheckpointError, match="a policy alone"):
        replay(path)
