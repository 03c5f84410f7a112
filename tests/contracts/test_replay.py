"""Contracts of a run that meets a NaN: it stops there, and its dump fails at the same place when it is replayed."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from runs import ROLLOUT, assert_same, interrupted, tiny

from harness.__main__ import main as harness_main
from harness.findings import ContractError
from harness.stack.guarded_training import GuardedEnv
from mapush import replay as replaying
from mapush.assembly import make_env
from mapush.env.walk import WalkEnv
from mapush.errors import CheckpointError, MapushError, NonFiniteError, SimulatorError
from mapush.happo.happo import Happo
from mapush.presets import preset
from mapush.replay import replay, replay_failure
from mapush.run import checkpoint as checkpoints
from mapush.run.failed_iteration import NON_FINITE
from mapush.run.failure_bundle import FILE, KEPT_DECISIONS, DecisionRecorder, Failure, failed_envs
from mapush.run.folder import read_config
from mapush.run.versions import changed
from mapush.train import Run, main, train

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
    """Work in a temporary folder: MuJoCo writes its warnings to a log in the current one."""
    monkeypatch.chdir(tmp_path)


def poison_physics(monkeypatch):
    """Make the velocity of one robot NaN in the env step after `BAD_STEP`."""
    step = WalkEnv.step

    def poisoned(env, actions):
        if int(env._buffers["age"][0]) == BAD_STEP // env.num_envs:
            env.physics._qvel[BAD_ENV, 2] = float("nan")
        return step(env, actions)

    monkeypatch.setattr(WalkEnv, "step", poisoned)


def poison_reward(monkeypatch):
    """Make the reward of one env NaN in the env step after `BAD_STEP`."""
    rewards = WalkEnv._rewards

    def poisoned(env, *args):
        terms = rewards(env, *args)
        if int(env._buffers["age"][0]) == BAD_STEP // env.num_envs + 1:
            terms["height"][BAD_ENV] = float("nan")
        return terms

    monkeypatch.setattr(WalkEnv, "_rewards", poisoned)


def poison_weights(monkeypatch):
    """Make a weight of the actor NaN in the fifth update."""
    set_progress = Happo.set_progress

    def poisoned(agent, fraction):
        set_progress(agent, fraction)
        if fraction == 0.5:
            next(agent.actors[0].parameters()).data[0] = float("nan")

    monkeypatch.setattr(Happo, "set_progress", poisoned)


@pytest.mark.parametrize(
    "poison, kind, said",
    [
        (poison_physics, SimulatorError, ["env 3", f"env step {BAD_STEP}"]),
        (poison_reward, NonFiniteError, ["rewards", "step 4, env 3, agent 0", f"env step {5 * ROLLOUT}"]),
        (poison_weights, NonFiniteError, ["agent0/", f"env step {5 * ROLLOUT}"]),
    ],
)
def test_non_finite_number_stops_the_run_and_replays(tmp_path, monkeypatch, poison, kind, said):
    """The error names env, agent, field and env step; the replay of its dump fails alike, if the cause is there."""
    with monkeypatch.context() as patch:
        poison(patch)
        with pytest.raises(kind) as failed:
            train(tiny(), tmp_path / "run")
        for words in said:
            assert words in str(failed.value)
        dump = tmp_path / "run" / NON_FINITE
        assert f"python -m mapush.replay {dump}" in failed.value.fix
        with pytest.raises(kind) as again:
            replay(dump)
        for field in ("what", "where", "got"):
            assert getattr(failed.value, field) == getattr(again.value, field)
    assert replay(dump) == ROLLOUT


def test_dump_is_the_state_before_the_iteration(tmp_path, monkeypatch):
    """The dump equals, bit for bit, a checkpoint from the beginning of the iteration."""
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
    """The first iteration after a resume, which begins in the middle of a rollout, leaves a dump as well."""
    folder = tmp_path / "run"
    stop = interrupted(BAD_STEP - 10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as stopped:
        train(tiny(), folder, make_env=stop)
    assert stopped.value.code == 128 + signal.SIGTERM
    poison_physics(monkeypatch)
    with pytest.raises(SimulatorError):
        train(read_config(folder), folder, resume=True)
    assert checkpoints.load(folder / NON_FINITE).step == BAD_STEP - 5
    with pytest.raises(SimulatorError, match="the physics diverged") as again:
        replay(folder / NON_FINITE)
    assert f"env step {BAD_STEP}" in again.value.where


def test_lost_weights_are_found_in_the_next_env_step(tmp_path):
    """A weight that is NaN is found in the actions, with the agent, before it reaches the physics."""
    run = Run.start(tiny())
    run.advance()
    for weights in run.agent.actors[0].parameters():
        weights.data.fill_(float("nan"))
    with pytest.raises(NonFiniteError) as caught:
        run.iterate()
    assert "actions" in caught.value.what
    assert "num_agents 0" in caught.value.where
    assert caught.value.where.endswith("env step 5")
    run.close()


def test_command_replays_and_reports(tmp_path, monkeypatch, capsys):
    """`python -m mapush.replay FILE` exits with 2 and the error, or with 0 if nothing fails this time."""
    folder = tmp_path / "run"
    flags = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --total-steps 350".split()
    flags += ["--sim", "mujoco", "--sim.threads", "1"]
    monkeypatch.setattr("sys.argv", ["replay", str(folder / NON_FINITE)])
    with monkeypatch.context() as patch:
        poison_physics(patch)
        assert main(flags + ["--run-dir", str(folder)]) == 2
        first = capsys.readouterr().err
        assert replaying.main() == 2
        second = capsys.readouterr().err
    assert "\n".join(first.splitlines()[:3]) in second
    assert replaying.main() == 0
    assert "35 env steps" in capsys.readouterr().out


def test_replay_without_dump_is_an_error(tmp_path):
    """The error for a missing file names it."""
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        replay(tmp_path / "none.pt")


def test_replay_of_a_policy_is_an_error(tmp_path):
    """A checkpoint that holds only a policy is refused."""
    run = Run.start(tiny())
    path = checkpoints.save(dataclasses.replace(run.snapshot(), run={}), tmp_path / "policy.pt")
    run.close()
    with pytest.raises(CheckpointError, match="only a policy"):
        replay(path)


def fail_with(folder, poison, monkeypatch, config=None):
    """Train until the planted fault ends the run; return the bundle."""
    with monkeypatch.context() as patch:
        poison(patch)
        with pytest.raises(MapushError) as failed:
            train(config or tiny(), folder)
    assert f"python -m mapush.replay {folder / FILE}" in failed.value.fix
    return Failure.load(folder / FILE)


def throw_robot(monkeypatch):
    """Give one robot an impossible speed before the env step after `BAD_STEP`."""
    advance = Run.advance

    def thrown(run):
        if run.step == BAD_STEP:
            run.env.physics._qvel[BAD_ENV, 2] = 5000.0
        advance(run)

    monkeypatch.setattr(Run, "advance", thrown)


def test_bundle_holds_only_the_failed_env(tmp_path, monkeypatch):
    """It holds configuration, env, last decisions, error and versions, and is small enough to send by mail."""
    failure = fail_with(tmp_path / "run", poison_physics, monkeypatch)
    assert (tmp_path / "run" / FILE).stat().st_size < 200_000
    assert failure.config == read_config(tmp_path / "run")
    assert (failure.env_ids, failure.step) == ([BAD_ENV], BAD_STEP)
    assert failure.error["kind"] == "SimulatorError"
    assert "diverged" in failure.error["what"]
    assert len(failure.transitions) == KEPT_DECISIONS
    assert all(value.shape[0] == 1 for moment in failure.transitions for value in moment.values())
    assert failure.versions["torch"] == torch.__version__
    assert not changed(failure.versions)
    of_then = dict(failure.versions, cores="999", numpy="0.1", torch="0.2")
    assert [line.split(", is ")[0] for line in changed(of_then)] == ["numpy was 0.1", "torch was 0.2"]


def test_bundle_of_a_diverged_robot_fails_again(tmp_path, monkeypatch):
    """The last decision, repeated from the recorded state without the rest of the run, fails with the same error."""
    failure = fail_with(tmp_path / "run", throw_robot, monkeypatch)
    with pytest.raises(SimulatorError, match="the physics diverged") as again:
        replay_failure(failure)
    assert "env 0" in again.value.where
    assert "decision 4 of 4" in again.value.where


def test_bundle_of_lost_weights_fails_again(tmp_path, monkeypatch):
    """An action that is NaN is in the bundle, and is refused again."""

    def lose(patch):
        advance = Run.advance

        def lost(run):
            if run.step == BAD_STEP:
                next(run.agent.actors[0].parameters()).data[0] = float("nan")
            advance(run)

        patch.setattr(Run, "advance", lost)

    failure = fail_with(tmp_path / "run", lose, monkeypatch)
    assert failure.transitions[-1]["action"].isnan().any()
    with pytest.raises(NonFiniteError, match="actions"):
        replay_failure(failure)


@pytest.mark.parametrize("task_name", ["walk", "cuboid"])
def test_bundle_without_a_cause_reports_how_far_it_deviates(tmp_path, monkeypatch, task_name):
    """Each decision is repeated from its own state; without the fault none fails, and all end near the recording."""
    config = tiny()
    if task_name == "cuboid":
        small = dataclasses.asdict(config)
        names = ("num_envs", "num_steps", "total_steps", "checkpoint_every", "device")
        config = dataclasses.replace(
            preset("cuboid", "default"), sim=config.sim, happo=config.happo, **{name: small[name] for name in names}
        )
        config = dataclasses.replace(config, total_steps=3500)

    def poison(patch):
        def raise_then(run):
            if run.iteration == 2 and run.rollout.step == 6:
                raise SimulatorError("the physics diverged", where="env 1, 4")
            advance(run)

        advance = Run.advance
        patch.setattr(Run, "advance", raise_then)

    failure = fail_with(tmp_path / "run", poison, monkeypatch, config)
    assert failure.env_ids == [1, 4]
    said = replay_failure(failure)
    assert len(said) == KEPT_DECISIONS
    gaps = [float(re.search(r"within (\S+) m", line).group(1)) for line in said[:-1]]
    assert len(gaps) == KEPT_DECISIONS - 1
    assert max(gaps) < 1e-3
    failure.transitions[1]["robot_pos_w"][0, 0, 0] += 0.5  # the outcome of the first decision
    assert "within 0.5 m" in replay_failure(failure)[0]


def test_moment_places_envs_where_they_were(tmp_path):
    """An environment that is placed at a moment reports that moment, and then steps in the same way."""
    run = Run.start(tiny())
    for _ in range(3):
        run.advance()
    moment = {name: value.clone() for name, value in run.env.moment().items()}
    run.env.physics.reset(torch.ones(5, dtype=torch.bool), run.env.physics.state())
    actions = torch.zeros(5, 1, 12)
    first = run.env.step(actions)
    run.env.place(moment)
    for name, value in run.env.moment().items():
        torch.testing.assert_close(value, moment[name], msg=name, atol=1e-5, rtol=0.0)
    again = run.env.step(actions)
    torch.testing.assert_close(
        again.final_observation.obs[..., :3], first.final_observation.obs[..., :3], atol=0.3, rtol=0.0
    )
    run.close()


class LateEnv:
    """An environment on a GPU, which changes the tensors of its moment in place."""

    def __init__(self):
        self.device = SimpleNamespace(type="cuda")
        self.num_envs = 3
        self.position = torch.zeros(3, 2)

    def moment(self):
        """Return the positions and speeds."""
        return {"position": self.position, "joint_vel": self.position * 10.0}


def test_env_on_a_gpu_keeps_what_was_before_it_failed():
    """On a GPU, an env whose state is not physical keeps its last physical moments; other envs keep the newest ones."""
    env, recorder = LateEnv(), DecisionRecorder()
    for number in range(9):
        env.position[:] = float(number)
        if number >= 5:
            env.position[1] = float("nan")
            env.position[2] = 200.0  # moves at 2000
        action = torch.full((3, 2), float(number))
        action[2] = float("nan") if number == 4 else number
        recorder.note(env, action)
    assert failed_envs(env, recorder, SimulatorError("it failed")) == [1, 2]
    good = recorder.transitions([0])
    assert [moment["action"][0, 0].item() for moment in good] == [5.0, 6.0, 7.0, 8.0]
    for env_id in (1, 2):
        bad = recorder.transitions([env_id])
        assert len(bad) == 1
        assert bad[0]["position"][0, 0] == 4.0
        assert bad[0]["action"].isnan().all() if env_id == 2 else bad[0]["action"][0, 0] == 4.0


def test_replay_command_takes_bundles(tmp_path, monkeypatch, capsys):
    """`python -m harness replay` and `python -m mapush.replay` accept both files of a failed run."""
    fail_with(tmp_path / "run", throw_robot, monkeypatch)
    bundle = str(tmp_path / "run" / FILE)
    for command in (replaying.main, harness_main):
        words = ["replay", bundle] if command is harness_main else [bundle]
        assert command(words) == 2
        said = capsys.readouterr()
        assert f"env 3 at env step {BAD_STEP} on mujoco" in said.out
        assert "the same as in the failed run" in said.out
        assert "SimulatorError: the physics diverged" in said.err


def test_broken_contract_leaves_a_bundle_that_breaks_it_again(tmp_path, monkeypatch, capsys):
    """A run under guard that breaks a contract leaves files whose replay under guard breaks it again."""
    step = WalkEnv.step

    def generous(env, actions):
        result = step(env, actions)
        return dataclasses.replace(result, reward=result.reward + 1.0)

    def make_guarded_env(config):
        return GuardedEnv(make_env(config), time_share=math.inf)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(WalkEnv, "step", generous)
        with pytest.raises(ContractError, match="not the sum of its terms"):
            train(tiny(), folder, make_env=make_guarded_env)
        for file in (FILE, NON_FINITE):
            assert replaying.main([str(folder / file)], make_env=make_guarded_env) == 2
            assert "not the sum of its terms" in capsys.readouterr().err
    for file in (FILE, NON_FINITE):
        assert replaying.main([str(folder / file)], make_env=make_guarded_env) == 0


def test_full_disk_does_not_hide_the_error_of_the_run(tmp_path, monkeypatch):
    """If the bundle cannot be written, the error of the run is still reported."""
    poison_physics(monkeypatch)
    monkeypatch.setattr(Failure, "save", lambda failure, path: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(SimulatorError, match="the physics diverged"):
        train(tiny(), tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


def test_foreign_file_is_not_a_bundle(tmp_path):
    """A file that is not a bundle is refused by name."""
    path = tmp_path / "failure.pt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="cannot be replayed"):
        Failure.load(path)
    assert replaying.main([str(path)]) == 2


def test_folder_of_a_run_is_refused_with_the_file_to_name(tmp_path, capsys):
    """Whoever names the run is told which file of it can be replayed."""
    assert replaying.main([str(tmp_path)]) == 2
    assert str(tmp_path / "failure.pt") in capsys.readouterr().err
