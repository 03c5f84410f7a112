"""Contracts of joining a job: torchrun's variables, what several ranks cannot do, and what must be the same."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys

import pytest

from mapush.config import SimConfig
from mapush.distributed.join import job
from mapush.distributed.place import place_of
from mapush.distributed.rank_store import connect
from mapush.distributed.refusals import require_enough_gpus, require_possible, require_supported
from mapush.distributed.same_everywhere import difference, facts_of
from mapush.distributed.start_ranks import FLAG, number_of_ranks, without_flag
from mapush.errors import ConfigError, DistributedError
from mapush.presets import preset
from mapush.train import main

pytestmark = pytest.mark.distributed

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "5", "LOCAL_RANK": "1", "MASTER_ADDR": "node-0", "MASTER_PORT": "29400"}
CONFIG = dataclasses.replace(preset("cuboid"), device="cpu", sim=SimConfig(backend="mujoco"))


# -- variables -------------------------------------------------------------------------------------------------------


def test_variables_of_torchrun_give_the_place():
    """Rank, size and where the store is; only torchrun's agent keeps it there."""
    place = place_of(TORCHRUN)
    assert (place.rank, place.size, place.local_rank, place.address, place.port) == (3, 5, 1, "node-0", 29400)
    assert str(place) == "rank 3 of 5"
    assert not place.has_agent
    agent = dict(TORCHRUN, TORCHELASTIC_RUN_ID="x", TORCHELASTIC_USE_AGENT_STORE="True", RANK="0")
    assert place_of(agent).has_agent
    assert not place_of(agent).hosts_store
    assert place_of(dict(TORCHRUN, RANK="0")).hosts_store
    again = dict(agent, TORCHELASTIC_RESTART_COUNT="1")
    assert place_of(again).run_id != place_of(agent).run_id, "the failure of one attempt must not end the next"


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1"}, dict(TORCHRUN, WORLD_SIZE="1", RANK="0")])
def test_process_without_others_trains_as_always(environment):
    """A world of one, left over or not, is harmless."""
    assert place_of(environment) is None
    with job(environment) as here:
        assert here.join(CONFIG).size == 1


@pytest.mark.parametrize(
    "change, got",
    [
        ({"RANK": None, "MASTER_PORT": None}, "WORLD_SIZE=5 without RANK, MASTER_PORT"),
        ({"RANK": "5"}, "RANK=5 with WORLD_SIZE=5"),
        ({"LOCAL_RANK": "one"}, "LOCAL_RANK=one"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many"),
    ],
)
def test_world_size_set_by_accident_is_one_message(change, got):
    """The message names the variable and says how to remove it."""
    environment = {name: value for name, value in {**TORCHRUN, **change}.items() if value is not None}
    with pytest.raises(ConfigError, match="not started by torchrun") as caught:
        place_of(environment)
    assert caught.value.got == got
    assert "unset WORLD_SIZE" in caught.value.fix


def test_world_size_set_by_accident_ends_the_command(monkeypatch, capsys):
    """Exit code 2 and the message, before anything is loaded or made."""
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(["cuboid"]) == 2
    assert "WORLD_SIZE=4 without RANK" in capsys.readouterr().err


def test_rank_without_others_loads_no_torch():
    """Isaac Gym must be loaded before torch, so a run of one process must not load it here."""
    code = "import sys; from mapush.distributed.join import job\nwith job() as here: sys.exit('torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "WORLD_SIZE"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


# -- the store -------------------------------------------------------------------------------------------------------


def test_port_in_use_is_one_message():
    """Rank 0 would keep the store there, but a different program listens."""
    pytest.importorskip("torch")
    with contextlib.closing(socket.socket()) as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        place = place_of(dict(TORCHRUN, RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)))
        with pytest.raises(DistributedError, match=f"port {port} is in use"):
            connect(place)


def test_store_that_nobody_keeps_is_one_message():
    """The rank names the address, and does not wait for ever."""
    pytest.importorskip("torch")
    place = place_of(dict(TORCHRUN, MASTER_ADDR="127.0.0.1", MASTER_PORT="1"))
    with pytest.raises(DistributedError, match="rank 3 of 5 cannot reach the store") as caught:
        connect(place, seconds=0.1)
    assert caught.value.where == "127.0.0.1:1"


# -- what several ranks cannot do ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, got",
    [
        ({"learner": "harl"}, "--learner harl with 3 ranks"),
        ({"sim": SimConfig(backend="isaacgym")}, "--sim isaacgym with 3 ranks"),
        ({"sim": SimConfig(backend="standin")}, "--sim standin with 3 ranks"),
        ({"device": "cuda:1"}, "--device cuda:1 with 3 ranks"),
    ],
)
def test_setting_for_one_process_is_refused_by_name(change, got):
    """The fix names the alternative; one process may use all of it."""
    config = dataclasses.replace(CONFIG, **change)
    with pytest.raises(ConfigError) as caught:
        require_supported(config, 3)
    assert caught.value.got == got
    require_supported(config, 1)


def test_more_ranks_than_gpus_are_refused():
    """Two ranks would share a GPU."""
    with pytest.raises(ConfigError, match="more ranks than GPUs") as caught:
        require_enough_gpus(4, 2, "--gpus 4")
    assert caught.value.got == "--gpus 4: 4 ranks, 2 GPUs"
    require_enough_gpus(2, 2, "--gpus 2")


def test_rank_on_the_cpu_needs_no_gpu():
    """However many ranks a machine has."""
    assert require_possible(CONFIG, place_of(TORCHRUN)) == "cpu"


# -- --gpus ----------------------------------------------------------------------------------------------------------


def test_gpus_counts_ranks_on_the_cpu():
    """With --device cpu, N is the number of processes; all is a number of GPUs."""
    assert number_of_ranks("3", CONFIG) == 3
    with pytest.raises(ConfigError, match="no GPU to use"):
        number_of_ranks("all", CONFIG)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_gpus_takes_a_number_or_all(text):
    """Anything else is one message."""
    with pytest.raises(ConfigError, match="invalid number of GPUs"):
        number_of_ranks(text, CONFIG)


def test_ranks_get_the_command_line_without_gpus():
    """In both spellings of the flag."""
    assert without_flag(["cuboid", FLAG, "2", "--seed", "7"]) == ["cuboid", "--seed", "7"]
    assert without_flag(["cuboid", f"{FLAG}=2", "--seed", "7"]) == ["cuboid", "--seed", "7"]


@pytest.mark.parametrize(
    "words, said",
    [
        (["--gpus", "2", "--learner", "harl"], "HARL's runner trains in one process"),
        (["--gpus", "2", "--sim", "standin"], "MAPush's own environment trains in one process"),
        (["--gpus", "5", "--num-envs", "512"], "5 ranks cannot share the envs evenly"),
        (["--gpus", "all"], "no GPU to use"),
    ],
)
def test_impossible_job_is_refused_before_a_rank_starts(tmp_path, monkeypatch, capsys, words, said):
    """One message, once, and no folder."""
    monkeypatch.chdir(tmp_path)
    assert main(["cuboid", "--device", "cpu", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# -- what must be the same -------------------------------------------------------------------------------------------


def test_ranks_that_are_the_same_do_not_differ():
    """A second process with the same command line has the same facts."""
    assert difference(facts_of(CONFIG, "cpu"), facts_of(CONFIG, "cpu")) is None


@pytest.mark.parametrize(
    "name, other, said",
    [
        ("torch", "1.0", "on rank 0 1.0"),
        ("python", None, "on rank 0 missing"),
        ("mapush/env/rewards.py", "file 0", "mapush/env/rewards.py is file "),
        ("--happo.lr", "7.0", "--happo.lr is "),
        ("device", "cuda", "device is cpu, on rank 0 cuda"),
    ],
)
def test_what_differs_is_named(name, other, said):
    """Version, file of the code, setting, or kind of device."""
    if name == "torch":
        pytest.importorskip("torch")
    first = dict(facts_of(CONFIG, "cpu"))
    assert name in first
    del first[name]
    if other is not None:
        first[name] = other
    found = difference(facts_of(CONFIG, "cpu"), first)
    assert found.startswith(name)
    assert said in found


def test_code_of_the_users_own_is_compared(tmp_path):
    """A file that differs between nodes is the likeliest difference of all."""
    file = tmp_path / "world.py"
    file.write_text("def make(): pass")
    config = dataclasses.replace(CONFIG, env=f"{file}:make")
    before = facts_of(config, "cpu")
    file.write_text("def make(): return 1")
    assert difference(facts_of(config, "cpu"), before).startswith("world.py is file")


def test_many_differences_are_a_short_message():
    """A different version of everything need not fill the screen."""
    first = {f"--setting-{number}": "1" for number in range(9)}
    found = difference({}, first)
    assert found.count("on rank 0") == 5
    assert found.endswith("and 4 more")
