"""Contracts of the commands with `--sim standin`, on MAPush's own unedited code: train, resume, evaluate, messages."""

from __future__ import annotations

import json
import shutil

import pytest
from standin_runs import TINY, WALKING, copy_of_mapush, files_of, run, write_still_body

from mapush.run.folder import read_config
from mapush.upstream.low_level import BODY

pytestmark = pytest.mark.upstream

TRAIN = f"mapush train cuboid --preset published --sim standin {TINY}"
TWO_ENVS = """
import torch
from mapush.config import TaskConfig
from mapush.sim import choose_backend
choose_backend("standin")
from mapush.upstream.mqe_standin import StandinEnv

def make(num_envs):
    env = StandinEnv(TaskConfig(), num_envs, seed=3, contact_pairs=2**20)
    env.reset()
    return env

def play(env, others=()):
    for _ in range(4):
        result = env.step(torch.full((env.num_envs, 2, 3), 0.3))
        for other in others:
            other.step(torch.zeros(other.num_envs, 2, 3))
    return result

only = make(3)
expected = play(only)
only.close()
other, one = make(5), make(3)  # MAPush seeds the generators of the process, so the one to compare comes last
found = play(one, [other])
equal = torch.equal(found.observation.share_obs, expected.observation.share_obs)
print("equal", equal, float(found.reward.abs().sum()))
"""


@pytest.fixture(scope="module")
def mapush(tmp_path_factory):
    """Return the folder of a copy of MAPush."""
    return copy_of_mapush(tmp_path_factory.mktemp("standin") / "MAPush")


def succeed(words, cwd, mapush, **environ):
    """Run a command that must succeed, and return what it printed."""
    result = run(words, cwd, mapush, **environ)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


def fail(words, cwd, mapush, **environ):
    """Run a command that must end with exit code 2 and a message, and return the message."""
    result = run(words, cwd, mapush, **environ)
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert "Traceback" not in result.stderr, result.stderr
    return result.stderr


def test_native_learner_trains_resumes_and_is_evaluated(tmp_path, mapush):
    """A run is trained, resumed and evaluated in MAPush's own environment, from any folder; the checkout stays."""
    before = files_of(mapush)
    said = succeed(f"{TRAIN} --total-steps 200 --run-dir run", tmp_path, mapush)
    assert "simulator stand-in for Isaac Gym on cpu (MuJoCo" in said.replace("\n", " ")
    succeed("mapush train --resume run --total-steps 400", tmp_path, mapush)
    assert read_config(tmp_path / "run").sim.backend == "standin"
    words = "mapush evaluate cuboid --sim standin --num-envs 3 --device cpu --checkpoint run"
    assert "simulator standin (MuJoCo" in succeed(words, tmp_path, mapush)
    results = json.loads((tmp_path / "run" / "evaluation" / "results.json").read_text())["results"]
    assert [result["step"] for result in results] == [200, 400]
    assert all(result["metrics"]["episodes"] == 3 for result in results)
    assert files_of(mapush) == before


@pytest.mark.harl
def test_harl_trains_and_evaluates_itself_meanwhile(tmp_path, mapush):
    """HARL's own runner trains in MAPush's own environment; its evaluation has a second simulation in the process.

    It trains on after an evaluation with another number of envs.
    """
    words = f"{TRAIN} --learner harl --harl.eval-episodes 2 --total-steps 400 --run-dir run"
    words += " --task.steps-per-decision 10"
    said = succeed(words, tmp_path, mapush)
    assert "HARL on cpu" in said.replace("\n", " ")
    assert (tmp_path / "run" / "models").is_dir()


@pytest.mark.parametrize("name", ["tblock", "cylinder"])
def test_other_objects_are_trained(tmp_path, mapush, name):
    """Each object of MAPush runs with its own configuration, also with upstream's quirks."""
    words = f"{TRAIN} --total-steps 20 --run-dir run --task.upstream-quirks"
    words = words.replace("cuboid --preset published", name)
    succeed(f"{words} --task.steps-per-decision 1", tmp_path, mapush)


def test_two_environments_in_one_process_are_independent(tmp_path, mapush):
    """An environment steps as it does alone while another one of a different size steps in between."""
    said = succeed(TWO_ENVS.strip(), tmp_path, mapush)
    assert "equal True" in said
    assert float(said.split()[-1]) > 0.0


THREADS = """
import torch
from mapush.config import TaskConfig
from mapush.sim import choose_backend
choose_backend("standin")
from mapush.upstream.mqe_standin import StandinEnv

torch.set_num_threads(2)
used = []
class Watched(StandinEnv):
    def _keep_judged_state(self, *state):
        used.append(torch.get_num_threads())
        return super()._keep_judged_state(*state)

for num_envs in (3, 201):
    env = Watched(TaskConfig(), num_envs, seed=3, contact_pairs=2**20)
    env.reset()
    env.step(torch.zeros(num_envs, 2, 3))
    used.append(torch.get_num_threads())
print("threads", used)
"""


def test_few_envs_compute_on_one_thread_of_torch(tmp_path, mapush):
    """A step of 3 envs uses one thread, one of 201 envs all; afterwards the program has as many as before."""
    assert "threads [1, 2, 2, 2]" in succeed(THREADS.strip(), tmp_path, mapush)


def test_contact_pairs_of_physx_cost_nothing_and_a_line_says_so(tmp_path, mapush):
    """A number that no GPU could hold is accepted, with a line; with the memory of a GPU given, it is refused."""
    words = f"{TRAIN} --total-steps 20 --sim.contact-pairs 50"
    assert "costs nothing on the stand-in" in succeed(f"{words} --run-dir one", tmp_path, mapush)
    said = fail(f"{words} --run-dir two", tmp_path, mapush, ISAAC_STANDIN_PHYSX_MEMORY="8GiB")
    assert "PhysX would end with a segmentation fault" in said
    assert not (tmp_path / "two").exists()


@pytest.mark.render
def test_episode_is_recorded_by_the_camera_of_mapush(tmp_path, mapush):
    """The film holds what MAPush's own camera sees, and the ending is printed."""
    words = "mapush evaluate cuboid --sim standin --untrained --mode viewer --episodes 1 --device cpu"
    said = succeed(f"{words} --record film.mp4", tmp_path, mapush)
    assert "episode 1 of 1: " in said
    assert (tmp_path / "film.mp4").stat().st_size > 0


def test_window_without_a_display_names_the_recording(tmp_path, mapush):
    """Without a display, one message says how to watch nevertheless."""
    words = "mapush evaluate cuboid --sim standin --untrained --mode viewer --device cpu"
    said = fail(words, tmp_path, mapush, DISPLAY="", WAYLAND_DISPLAY="")
    assert "the viewer cannot open a window" in said
    assert "--record FILE.mp4" in said


# -- incomplete copies -----------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path, mapush):
    """Return a copy of MAPush that a test may damage."""
    folder = tmp_path / "damaged"
    shutil.copytree(str(mapush), str(folder), symlinks=True)
    return folder


def test_missing_asset_is_one_message_that_names_the_file(tmp_path, damaged):
    """A copy without its URDF files is refused."""
    resources = damaged / "resources"
    source = resources.resolve()
    resources.unlink()
    shutil.copytree(str(source), str(resources), ignore=shutil.ignore_patterns("objects", "*.urdf"))
    said = fail(f"{TRAIN} --total-steps 20 --run-dir run", tmp_path, damaged)
    assert ".urdf" in said


@pytest.mark.parametrize("name", ["task", "resources", "mqe/utils/locomotion_checkpoints"])
def test_copy_without_a_folder_is_one_message_that_names_it(tmp_path, damaged, name):
    """Whoever copied only a part of MAPush is told what is missing."""
    (damaged / name).rename(tmp_path / "away")
    said = fail(f"{TRAIN} --total-steps 20 --run-dir run", tmp_path, damaged)
    assert str(damaged / name) in said
    assert "git clone" in said


def test_other_version_of_mqe_is_one_message(tmp_path, damaged):
    """MQE itself has no pushing task: the message names the version that is expected."""
    utils = damaged / "mqe" / "envs" / "utils.py"
    utils.write_text(utils.read_text().replace('"go1push_mid"', '"go1football"'))
    said = fail(f"{TRAIN} --total-steps 20 --run-dir run", tmp_path, damaged)
    assert "different version of MQE" in said
    assert "0e61e1b" in said


def test_body_that_a_copy_lacks_is_ours(tmp_path, damaged):
    """With our own body, the run starts, says so, and leaves the copy as it is."""
    (damaged / WALKING / BODY).unlink(missing_ok=True)
    ours = tmp_path / "go1_body.jit"
    write_still_body(ours)
    before = files_of(damaged)
    code = f"""import inspect, sys
from pathlib import Path
from mapush.upstream import mqe_upstream, low_level
mqe_upstream.low_level = lambda folder: low_level.low_level(folder, Path({str(ours)!r}))
from mapush.train import main
sys.exit(main({f"{TRAIN} --total-steps 20 --run-dir run".split()[2:]!r}))"""
    said = succeed(code, tmp_path, damaged)
    assert "the robots walk with ours, go1_body.jit" in said
    assert files_of(damaged) == before
