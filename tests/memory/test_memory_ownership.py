"""Tests of ownership: what must be gone after `close`, `del` or an exception, and what a training may keep."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import psutil
import pytest
import torch

from harness.memory.meters import MIB, Descriptors, Heap, Resident, Threads
from harness.memory.object_holders import holder_of
from harness.memory.object_sizes import PartMeter
from harness.memory.soak import Subject, soak
from harness.memory.verdict import CLEAN, ENDS, LEAK
from harness.stack.training_soak import make_crowded_env, make_training, soak_training
from mapush import train
from mapush.assembly import make_env
from mapush.config import SimConfig, TaskConfig
from mapush.env.metrics import EpisodeMetrics
from mapush.errors import CapacityError, NonFiniteError
from mapush.happo.happo import Happo
from mapush.presets import preset
from mapush.run.logger import RunLogger

pytestmark = [pytest.mark.memory, pytest.mark.mujoco, pytest.mark.usefixtures("only_new_objects")]

NUM_ENVS, NUM_STEPS = 3, 2


def tiny(task="cuboid", **changes):
    """Return a run whose iterations take milliseconds."""
    config = preset(task, "default")
    happo = dataclasses.replace(
        config.happo,
        hidden_sizes=(16, 12),
        ppo_epoch=1,
        critic_epoch=1,
        actor_num_mini_batch=1,
        critic_num_mini_batch=1,
    )
    sim = SimConfig(backend="mujoco", threads=1)
    if task != "walk":
        changes.setdefault("task", TaskConfig(object=task))
    return dataclasses.replace(
        config, num_envs=NUM_ENVS, num_steps=NUM_STEPS, total_steps=10**9, device="cpu", sim=sim, happo=happo, **changes
    )


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because tiny tensors gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parts_of(run):
    """Return weak references to the parts of a run."""
    env = getattr(run.env, "_env", run.env)
    physics = env.simulator.physics if hasattr(env, "simulator") else env.physics
    return [weakref.ref(part) for part in (run, env, env.metrics, physics, run.agent, run.rollout, run.rollout.obs)]


def alive(references):
    """Return the type and the holder of everything that is still alive."""
    gc.collect()
    return [(type(each()).__name__, holder_of(each())) for each in references if each() is not None]


@pytest.mark.parametrize("task", ["cuboid", "walk"])
def test_run_is_gone_after_close_and_del(task):
    """Env, simulator, learner, rollout and statistics are freed with the last reference to the run."""
    run = train.Run.start(tiny(task))
    run.iterate()
    references = parts_of(run)
    run.close()
    del run
    assert alive(references) == []


def test_run_is_gone_after_del_without_close():
    """A run that was never closed is freed, too."""
    run = train.Run.start(tiny())
    run.iterate()
    references = parts_of(run)
    del run
    assert alive(references) == []


def test_closed_run_that_is_referenced_holds_no_graph_of_the_learner():
    """NCCL's groups close only once the graphs are gone that hold its collectives."""

    class Graph:
        """Stands for a recorded CUDA graph."""

    run = train.Run.start(tiny())
    recorded = []
    for step in [*run.agent._actor_steps, run.agent._critic_step]:
        step._graph = Graph()
        recorded.append(weakref.ref(step._graph))
    del step
    run.close()
    assert len(recorded) > 1
    assert [each() for each in recorded] == [None] * len(recorded)


def test_closed_env_that_is_referenced_holds_no_physics():
    """An env that is closed and still referenced holds no physics."""
    env = make_env(tiny())
    env.reset()
    batch = [weakref.ref(each) for each in vars(env.simulator.physics).values() if type(each).__module__ == "numpy"]
    size = PartMeter("env", env).read()
    env.close()
    assert batch == [] or alive(batch) == []
    assert PartMeter("env", env).read() <= size


def test_only_the_traceback_keeps_a_run_that_failed(monkeypatch):
    """While the exception is referenced, its traceback keeps the run; afterwards, everything is freed."""

    def explode(self, rollout):
        raise NonFiniteError("planted")

    monkeypatch.setattr(Happo, "update", explode)
    references = []
    before = Descriptors().read(), Threads().read()

    def fail():
        run = train.Run.start(tiny())
        references.extend(parts_of(run))
        try:
            run.iterate()
        finally:
            run.close()

    try:
        fail()
    except NonFiniteError as caught:
        error = caught
    assert error.__traceback__ is not None
    assert (Descriptors().read(), Threads().read()) == before
    del error
    assert alive(references) == []


def test_run_that_cannot_start_leaves_nothing(monkeypatch):
    """An error between the env and the first observation closes the env and keeps no part."""
    references = []

    def make_and_note(config):
        env = make_env(config)
        references.extend(weakref.ref(part) for part in (env, env.simulator, env.metrics))
        return env

    def refuse(config, sizes, ranks):
        raise CapacityError("planted")

    monkeypatch.setattr(train, "make_agent", refuse)
    with pytest.raises(CapacityError):
        train.Run.start(tiny(), make_and_note)
    assert len(references) == 3
    assert alive(references) == []


def test_ten_envs_made_and_closed_in_turn_leave_nothing():
    """The tenth env takes as much memory as the second."""
    meters = [Heap(), Resident(), Descriptors(), Threads()]

    def life():
        env = make_env(tiny())
        env.reset()
        env.step(torch.zeros(NUM_ENVS, env.num_agents, 3))
        env.close()

    used = []
    for _ in range(10):
        life()
        gc.collect()
        used.append([meter.read() or 0.0 for meter in meters])
    heap, rss, descriptors, threads = (last - second for last, second in zip(used[-1], used[1]))
    assert heap < MIB / 2
    assert rss < 4 * MIB
    assert (descriptors, threads) == (0, 0)


def test_statistics_do_not_grow_with_episodes():
    """Twenty thousand episodes take as much memory as one thousand."""
    metrics = EpisodeMetrics(("success", "return"), 50, torch.device("cpu"))
    everyone = torch.ones(50, dtype=torch.bool)
    sizes = []
    for round_ in range(400):
        metrics.add_step({"push": torch.ones(50, 2)})
        metrics.add_episodes(everyone, {"success": everyone, "return": torch.full((50,), float(round_))})
        if round_ % 20 == 19:
            metrics.summary()
            sizes.append(PartMeter("metrics", metrics).read())
    assert max(sizes) - min(sizes) < 256


def test_logger_does_not_grow_with_rows(tmp_path):
    """A log of two thousand rows takes as much memory as a log of one hundred: the rows are on the disk."""
    loggers = []

    def make():
        logger = RunLogger(tmp_path / str(len(loggers)), tiny())
        loggers.append(weakref.ref(logger))
        rounds = [0]

        def advance():
            for _ in range(25):
                rounds[0] += 1
                row = {"reward/total": 0.5, "episodes": 0.0, "fps": 100.0}
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(logger, "say", lambda text: None)
                    logger.log(rounds[0], rounds[0], row)

        return Subject(advance, steps=25, close=logger.close, owners={"logger": logger})

    for index in range(2):
        (tmp_path / str(index)).mkdir()
    report = soak(make, warm_up=4, cycles=80)
    assert report.kind in (CLEAN, ENDS), report
    assert report.ok, report
    assert report.finding("logger").kind in (CLEAN, ENDS), report
    assert alive(loggers) == []


@pytest.mark.slow
def test_training_of_hundreds_of_iterations_is_clean(tmp_path):
    """A complete training, with log, snapshots and heaps of robots, does not grow and releases everything."""
    count = iter(range(2))

    def make():
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return make_training(tiny(), folder)

    report = soak(make, warm_up=20, cycles=240)
    assert report.kind in (CLEAN, ENDS), report
    assert report.ok, report
    for part in ("env", "metrics", "rollout", "learner"):
        assert report.finding(part).kind == CLEAN, report


def test_leak_in_a_training_is_found_and_named(tmp_path, monkeypatch):
    """Statistics that keep the terms of every step are found within a hundred iterations, with the path of the list."""
    count = iter(range(2))
    add_step = EpisodeMetrics.add_step

    def keep(self, terms):
        self.__dict__.setdefault("history", []).extend(value.clone() for value in terms.values())
        add_step(self, terms)

    monkeypatch.setattr(EpisodeMetrics, "add_step", keep)

    def make():
        folder = tmp_path / str(next(count))
        folder.mkdir()
        return make_training(tiny(), folder)

    report = soak(make, warm_up=10, cycles=100)
    assert report.kind == LEAK
    assert "metrics.history" in report.owners[0], report


def test_training_soak_says_what_it_ran_on():
    """The report names envs, task and simulator; it lists no buffers, because only a GPU has them."""
    report = soak_training(tiny(), iterations=34)
    assert f"{NUM_ENVS} envs of cuboid on mujoco" in report.notes[0]
    assert report.buffers == {}, report
    assert report.kind in (CLEAN, ENDS), report


def test_crowded_env_walks_at_the_object():
    """In every second env the robots approach the object; in the others they follow the actions."""
    env = make_crowded_env(tiny())
    state = env.reset() and env.simulator.state()

    def distances():
        state = env.simulator.state()
        return (state.robot_pos_w - state.object_pos_w.unsqueeze(1))[..., :2].norm(dim=-1)

    before = distances()
    actions = torch.zeros(NUM_ENVS, env.num_agents, 3)
    for _ in range(40):
        env.step(actions)
    closer = before - distances()
    assert (closer[::2] > 0.1).all()
    assert (closer[1::2].abs() < 0.1).all()
    assert not actions.any()
    assert state is not None
    env.close()


def test_meters_read_this_process():
    """The meters read this process and no other."""
    assert Resident().read() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
