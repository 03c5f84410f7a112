"""Contracts of the catalogue of known errors: the right cause for real messages, and none for those that resemble them.

Every failure is a real one: a program of `mission_bugs` or an exception that a library raises here.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mission_bugs
import pytest

from harness.causes.known_errors import KNOWN_ERRORS, explain
from harness.causes.symptom import CodeLine, Symptom
from harness.process.isolate import Limits, run
from harness.process.known_crashes import likely_cause
from harness.stack import training_hints

pytestmark = pytest.mark.harness

TOYS = str(Path(mission_bugs.__file__))
KNOWN = {  # program, words of its cause
    "create_sim": "the simulation could not be created: PhysX reserves memory for max_gpu_contact_pairs",
    "physx_gives_up": "PhysX could not allocate the GPU memory that it reserves for contact pairs",
    "transposed_actions": "axis 1 of the actions and of the environment differ (5 and 2): envs and agents are swapped",
    "transposed_actions_in_numpy": "the axes of envs and agents are swapped: (2, 5, ...) and (5, 2, ...)",
    "infos_without_key_0": "HARL looks for agent 0 in the info of an env, and finds no such key",
    "masks_none": "the environment returned None for available_actions",
    "masks_nested": "available_actions is a list of lists",
    "rewards_without_axis": "the last axis of the rewards is missing",
    "logger_without_envs": "MAPushLogger logs before anybody has given it the environment",
    "task_name": "get_task_name has no branch for the name of this environment, so `task` is never set",
    "logger_registry": "LOGGER_REGISTRY has no logger for the environment 'mapush'",
    "algo_registry": "HARL has no algorithm 'hapo'",
    "num_agents_none": "get_num_agents has no branch for the name of this environment",
    "another_number_of_envs": "the environment returned 10 rows where HARL was configured for 5",
    "arguments_of_no_parser": "the arguments lack `physics_engine`",
    "nan_policy": "NaN or infinity reached the policy",
    "std_negative": "the standard deviation of the policy is NaN or negative",
    "worker_without_simulation": "the simulation could not be created",
    "worker_that_dies": "a worker process of the environment has died: ValueError: no map of this name",
}
UNKNOWN = (  # fail with the same exceptions, for other reasons
    "other_observations",
    "action_of_another_width",
    "key_0_of_something_else",
    "something_else_none",
    "logger_without_file",
    "other_unbound_name",
    "range_of_something_else",
    "another_width",
    "namespace_of_something_else",
    "scale_of_zero",
    "end_of_input",
)
ANYWHERE = ("logger_without_envs", "nan_policy", "std_negative")  # whose messages have one meaning on every line
CRASHES = ("create_sim", "physx_gives_up", "worker_without_simulation")


@pytest.fixture(scope="module")
def endings():
    """Run every program, two at a time, and return how each of them ended."""
    training_hints.activate()

    def run_toy(name):
        return run([sys.executable, TOYS, name], Limits(timeout=120.0))

    names = [*KNOWN, *UNKNOWN, "create_envs"]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(run_toy, names)))


@pytest.mark.parametrize("name", KNOWN)
def test_run_program_with_a_known_error_names_its_cause(endings, name):
    """`harness run` states cause and fix of the errors that an integration meets."""
    ending = endings[name]
    assert (ending.cause or "").startswith(KNOWN[name]), str(ending)
    assert ending.fix
    assert "{" not in ending.cause


@pytest.mark.parametrize("name", UNKNOWN)
def test_run_error_that_resembles_a_known_one_has_no_cause(endings, name):
    """The same message on a line about something else is not explained: a wrong cause is worse than none."""
    assert not endings[name].ok
    assert not endings[name].cause, str(endings[name])


def test_run_crash_elsewhere_than_in_create_sim_does_not_blame_contact_pairs(endings):
    """A crash where robots are added has the general cause of its signal."""
    assert "invalid memory" in endings["create_envs"].cause
    assert "contact" not in endings["create_envs"].cause


def test_run_transposed_actions_name_the_line_that_transposes(endings):
    """The cause ends in file and line of the transposition, not of the line that failed."""
    source = Path(TOYS).read_text().splitlines()
    line = next(index for index, text in enumerate(source, start=1) if "actions.transpose(" in text)
    assert endings["transposed_actions"].cause.endswith(f"; {TOYS}:{line} transposes them")
    assert "transposes them" not in endings["transposed_actions_in_numpy"].cause


def raised_by(function, *arguments):
    """Return what a function raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011, B017
        function(*arguments)
    return caught.value


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in CRASHES])
def test_explain_exception_object_as_its_printed_traceback(name):
    """In the process of the environment, the exception itself is explained like its traceback elsewhere."""
    cause = explain(Symptom.of_exception(raised_by(getattr(mission_bugs, name))))
    expected = KNOWN[name].partition(": ValueError")[0]  # the exception of a worker stands only in what it printed
    assert cause.cause.startswith(expected)


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in CRASHES + ANYWHERE])
def test_explain_same_message_on_another_line_is_none(name):
    """Every message that has several meanings is explained only on the line that decides which."""
    symptom = Symptom.of_exception(raised_by(getattr(mission_bugs, name)))
    elsewhere = CodeLine("/home/me/own.py", 7, "main", "work(x)")
    assert explain(Symptom(symptom.what, (elsewhere,))) is None
    assert explain(Symptom(symptom.what)) is None


def test_explain_exception_without_text_or_traceback_is_none():
    """An exception that was never raised, or whose text cannot be read, is no known error and no error here."""

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    assert explain(Symptom.of_exception(Mute())) is None
    assert explain(Symptom.of_exception(raised_by(exec, "raise KeyError(0)"))) is None


PRINTED = {  # what old or absent software prints: exception, innermost frame, words of the cause
    "UnboundLocalError: local variable 'task' referenced before assignment": (
        CodeLine("/x/harl/utils/configs_tools.py", 69, "get_task_name", "return task"),
        "get_task_name has no branch",
    ),
    "AttributeError: 'Box' object has no attribute 'seed'": (
        CodeLine("/x/harl/runners/off_policy_base_runner.py", 101, "__init__", "self.action_spaces[agent_id].seed(1)"),
        "HARL's off-policy runners seed",
    ),
    "RuntimeError: Error building extension 'gymtorch'": (
        CodeLine("/x/isaacgym/gymtorch.py", 45, "_import_gymtorch", "gt = torch.utils.cpp_extension.load()"),
        "gymtorch could not be compiled",
    ),
    "AttributeError: 'isaacgym._bindings.linux-x86_64.gym_37.AssetOptions' object has no attribute 'enable_x'": (
        CodeLine("/x/tasks/ant.py", 9, "_create_envs", "options.enable_x = True"),
        "this Isaac Gym is another version than the code was written for: its AssetOptions has no enable_x",
    ),
    "RuntimeError: The following operation failed in the TorchScript interpreter.\n"
    "nvrtc: error: invalid value for --gpu-architecture (-arch)": (
        CodeLine("/x/envs/legged_robot.py", 9, "step", "quat_rotate_inverse(q, v)"),
        "this PyTorch is older than the GPU",
    ),
    "AttributeError: 'mujoco._structs.MjModel' object has no attribute 'flex_edgeflap'. Did you mean: 'flex_edge'?": (
        CodeLine("/x/mujoco_warp/_src/io.py", 467, "put_model", "flex_edgeflap=wp.array(mjm.flex_edgeflap)"),
        "mujoco_warp and mujoco are of different versions",
    ),
    "AttributeError: module 'warp.types' has no attribute 'warp_type_to_np_dtype'": (
        CodeLine("/x/mujoco/mjx/_src/io.py", 180, "_wp_to_np_type", "if t in wp.types.warp_type_to_np_dtype:"),
        "mujoco_warp and warp-lang are of different versions",
    ),
}


@pytest.mark.parametrize("error", PRINTED)
def test_explain_error_of_software_that_is_not_here(error):
    """Errors of old versions, of Isaac Gym and of GPUs are recognised as their public reports show them."""
    frame, cause = PRINTED[error]
    assert explain(Symptom(error, (frame,))).cause.startswith(cause)
    elsewhere = CodeLine("/x/own.py", 1, "main", "work()")
    narrow = "isaacgym" not in error and "gymtorch" not in error and "nvrtc" not in error
    if narrow:
        assert explain(Symptom(error, (elsewhere,))) is None


LINES = [  # what is printed, words of the cause
    ("[Error] [carb.gym.plugin] Gym cuda error: no kernel image is available for execution on the device", "not built"),
    ("[Error] [carb.gym.plugin] Gym cuda error: invalid device ordinal: Gym/GymPhysXCuda.cu: 991", "does not see"),
    ("*** Failed to load '/x/coacd_006.urdf'", "could not read the file"),
    ("[Error] [carb.gym.plugin] Failed to parse URDF file '/x/a.urdf'", "could not read the file"),
    ("Warp CUDA error 900: operation not permitted when stream is capturing (in function x)", "recorded a CUDA graph"),
    ("PhysX error: allocation of 10 bytes failed", "could not allocate"),
]


@pytest.mark.parametrize("line, words", LINES)
def test_printed_line_of_a_public_report_has_its_cause(line, words):
    """Lines that native code prints are recognised, each before the more general entry that also fits."""
    assert words in likely_cause(line).cause


@pytest.mark.warp
def test_explain_errors_that_mujoco_warp_raises():
    """A model that MuJoCo Warp cannot simulate, and buffers that are too small for its first state, are explained."""
    import mujoco
    import mujoco_warp

    unsupported = "<mujoco><option solver='PGS'/><worldbody/></mujoco>"
    model = mujoco.MjModel.from_xml_string(unsupported)
    cause = explain(Symptom.of_exception(raised_by(mujoco_warp.put_model, model))).cause
    assert cause.startswith("the model uses a feature of MuJoCo that MuJoCo Warp lacks: mjSOL_PGS")
    balls = "<body><freejoint/><geom size='.1'/></body><body pos='.05 0 0'><freejoint/><geom size='.1'/></body>"
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{balls}</worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    too_few = raised_by(lambda: mujoco_warp.put_data(model, data, nconmax=0, njmax=50))
    assert "allows; it needs 1" in explain(Symptom.of_exception(too_few)).cause


def test_catalogue_says_what_to_do_and_where_it_is_reported():
    """Every entry has a cause and a fix; at least ten cite a public issue as repository#number."""
    for known in KNOWN_ERRORS:
        assert known.cause
        assert known.fix
    sources = [source for known in KNOWN_ERRORS for source in known.source.split(", ") if source]
    for source in sources:
        repository, _, number = source.partition("#")
        assert repository.count("/") == 1
        assert number.isdigit()
    assert len(sources) >= 10
