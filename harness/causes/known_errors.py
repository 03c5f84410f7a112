"""The catalogue of known errors: exceptions and signals that the lines of code which were running explain.

`harness.process.known_crashes` has the causes that show in what a program printed. Here, a cause must fit the exception
or the signal, its message, and the innermost line of code that belongs to no library: the same `KeyError: 0` means
something else on a different line. A wrong cause is worse than none, so every entry is as narrow as its cause.

Sources: the code of HARL@d539bad and MAPush@0e61e1b, and the public issues that `source` names.
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple, Optional

from harness.causes.cause import Cause
from harness.causes.symptom import Symptom
from harness.causes.transposes import swap_below

MAX_MESSAGE = 2000  # characters of an error that are searched


def _swap(symptom: Symptom) -> str:
    """Name the line that transposes the actions, if one does."""
    place = swap_below(symptom.frames)
    return f"; {place} transposes them" if place else ""


def _worker(symptom: Symptom) -> str:
    """Name the exception that ended a worker process: the last line of the first traceback that a process printed."""
    inside = False
    for line in symptom.words:
        inside = inside or line.startswith("Process ")
        if inside and re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line):
            return f": {line}"
    return ""


def _nothing(symptom: Symptom) -> str:
    return ""


class KnownError(NamedTuple):
    """An exception or a signal whose cause is known.

    Attributes:
      what: regular expression that must match the beginning of "TypeError: message" or of the name of a signal. Its
        named groups may stand in `cause` and `fix`.
      place: regular expression that is searched in "file in function: code" of the innermost line of no library.
      cause: the most likely reason.
      fix: what to do about it.
      source: where the error is reported: repository#number; "" if it follows from the code itself.
      within: regular expression that is searched in the same way in any of the lines that were running.
      more: returns what else a failure tells about the cause; it is appended.
    """

    what: str
    place: str
    cause: str
    fix: str
    source: str = ""
    more: Callable[[Symptom], str] = _nothing
    within: str = ""


ADD_A_BRANCH = "add this environment's name there; python -m harness doctor --harl DIR lists every such table"
NO_MASKS = "return [None] * num_envs from reset and step"
SWAPPED = (
    "axis {axis} of the actions and of the environment differ ({a} and {b}): envs and agents are swapped, probably"
)
KEEP_AXES = "leave the actions as HARL hands them over: [num_envs, num_agents, action_dim]"
_ON_ACTIONS = r": .*\bactions?(_\w+)?\b"
_IN_STEP = r" in (step|step_async): "

KNOWN_ERRORS = (  # the first match counts
    # MQE on Isaac Gym
    KnownError(
        r"SIG(SEGV|ABRT|BUS)$",
        r" in create_sim: ",
        "the simulation could not be created: PhysX reserves memory for max_gpu_contact_pairs at once and did not get "
        "it, or this process has had a simulation before, or physics and graphics are on different cards",
        "python -m harness doctor --mqe DIR names the lines that multiply max_gpu_contact_pairs; make one simulation "
        "a process; give create_sim the same number for both devices",
        "ZiwenZhuang/parkour#55, PKU-MARL/HARL#72",
    ),
    KnownError(
        r"RuntimeError: The size of tensor a \((?P<a>\d+)\) must match the size of tensor b \((?P<b>\d+)\) at "
        r"non-singleton dimension (?P<axis>[01])$",
        _ON_ACTIONS,
        SWAPPED,
        KEEP_AXES,
        more=_swap,
        within=_IN_STEP,
    ),
    KnownError(
        r"ValueError: operands could not be broadcast together with shapes "
        r"\((?P<a>\d+),(?P<b>\d+)(?P<rest>(,\d+)*)\) \((?P=b),(?P=a)(?P=rest)\)",
        _ON_ACTIONS,
        "the axes of envs and agents are swapped: ({a}, {b}, ...) and ({b}, {a}, ...)",
        KEEP_AXES,
        more=_swap,
        within=_IN_STEP,
    ),
    KnownError(
        r"AttributeError: '(types\.)?SimpleNamespace' object has no attribute '(?P<name>\w+)'",
        r": .*\b(args|arguments)\.",
        "the arguments lack `{name}`, which a parser of command lines would have set",
        "set {name}, or make the arguments with the parser that belongs to this code",
    ),
    # HARL and its tables
    KnownError(
        r"KeyError: (?P<agent>\d+)$",
        r"bad_transition.*\binfos?\[|\binfos?\[(0|agent_id)\]",
        "HARL looks for agent {agent} in the info of an env, and finds no such key",
        "give each env {{0: {{}}}} if state_type is EP, or a list with a dict for each agent",
    ),
    KnownError(
        r"TypeError: 'NoneType' object is not subscriptable$",
        r": .*(?<![.\w])(eval_)?available_actions\[",
        "the environment returned None for available_actions, and this line indexes it without a guard",
        NO_MASKS + ", or guard the line: `if available_actions is not None and ...`",
    ),
    KnownError(
        r"TypeError: list indices must be integers or slices, not tuple$",
        r": .*(?<![.\w])(eval_)?available_actions\[:",
        "available_actions is a list of lists, of which HARL takes a column",
        NO_MASKS + " for continuous actions, or a numpy array (num_envs, num_agents, choices)",
    ),
    KnownError(
        r"TypeError: 'NoneType' object does not support item assignment$",
        r"buffer\w*\.py in .*\.available_actions\[",
        "available_actions holds something for every agent, but HARL keeps masks for Discrete actions only",
        NO_MASKS,
    ),
    KnownError(
        r"AttributeError: '(?P<logger>\w*Logger)' object has no attribute '(?P<name>envs?)'",
        "",
        "{logger} logs before anybody has given it the environment: HARL makes a logger without one",
        "set self.{name} = None in its __init__, and self.logger.{name} = self.envs in the runner's __init__",
    ),
    KnownError(
        r"UnboundLocalError: .*local variable '(?P<name>\w+)'",
        r" in get_task_name: ",
        "get_task_name has no branch for the name of this environment, so `{name}` is never set",
        ADD_A_BRANCH,
    ),
    KnownError(
        r"UnboundLocalError: .*local variable 'act_shape'",
        r" in get_shape_from_act_space: ",
        "HARL does not know this action space: it goes by the name of the class",
        "use a class that is called Box, Discrete, MultiDiscrete or MultiBinary",
    ),
    KnownError(
        r"KeyError: (?P<name>'[^']*')$",
        r": .*\bLOGGER_REGISTRY\[",
        "LOGGER_REGISTRY has no logger for the environment {name}",
        ADD_A_BRANCH,
    ),
    KnownError(
        r"KeyError: (?P<name>'[^']*')$",
        r": .*\b(ALGO|RUNNER|CRITIC)_REGISTRY\[",
        "HARL has no algorithm {name}",
        "check the spelling: happo, hatrpo, haa2c, mappo, ...",
    ),
    KnownError(
        r"TypeError: 'NoneType' object cannot be interpreted as an integer$",
        r": .*\brange\(.*\bnum_agents\b",
        "get_num_agents has no branch for the name of this environment, so it returned None",
        ADD_A_BRANCH,
    ),
    KnownError(
        r"ValueError: could not broadcast input array from shape \((?P<n>\d+),\) into shape \((?P=n),1\)",
        r"\brewards\[",
        "the last axis of the rewards is missing",
        "return rewards of shape (num_envs, num_agents, 1)",
    ),
    KnownError(
        r"ValueError: could not broadcast input array from shape \((?P<got>\d+)(?P<rest>(,\d+)+)\) into shape "
        r"\((?!(?P=got),)(?P<expected>\d+)(?P=rest)\)",
        r"_buffer",
        "the environment returned {got} rows where HARL was configured for {expected}: another number of envs than "
        "n_rollout_threads, or the axes of envs and agents are swapped",
        "pass n_rollout_threads on to the environment; an upstream default may win (10 in MQE's helpers, for example)",
    ),
    KnownError(
        r"(EOFError|ConnectionResetError|BrokenPipeError)\b",
        r"\bremotes?\b.*\.(recv|send)\(",
        "a worker process of the environment has died{more}",
        "look at the first traceback, not at the last; n_rollout_threads 1 makes the environment in this process",
        "PKU-MARL/HARL#34",
        _worker,
    ),
    KnownError(
        r"AttributeError: '(?P<space>Box|Discrete|MultiDiscrete)' object has no attribute 'seed'",
        r"\baction_spaces?\b",
        "HARL's off-policy runners seed the action spaces, and this {space} comes from a gym that cannot",
        "use spaces of gymnasium, or of gym 0.21",
        "PKU-MARL/HARL#53",
    ),
    # policies
    KnownError(
        r"ValueError: (Expected parameter (?P<name>loc|logits|probs|scale) .*satisfy the constraint|"
        r"The parameter (loc|logits|probs|scale) has invalid values)[^\0]*?(\bnan\b|\binf\b|invalid values$)",
        "",
        "NaN or infinity reached the policy: in an observation, or in the weights after an update on such rewards or "
        "observations",
        "python -m harness check FACTORY --contracts finite; the first NaN may be a whole rollout older than this line",
        "PKU-MARL/HARL#37, PKU-MARL/DexterousHands#4",
    ),
    KnownError(
        r"RuntimeError: normal expects all elements of std >= 0\.0",
        "",
        "the standard deviation of the policy is NaN or negative: an update made weights NaN, or trained it below 0",
        "look for the first NaN in losses, rewards and observations; keep the standard deviation positive (log_std, "
        "clamped) and lower the learning rate",
        "isaac-sim/IsaacGymEnvs#247, leggedrobotics/rsl_rl#190",
    ),
    # Isaac Gym
    KnownError(
        r"RuntimeError: (?s:.*)nvrtc: error: invalid value for --gpu-architecture",
        "",
        "this PyTorch is older than the GPU: it compiles a script for a card that it does not know",
        "install a PyTorch for a newer CUDA; export PYTORCH_JIT=0 if the version must stay",
        "Improbable-AI/walk-these-ways#60",
    ),
    KnownError(
        r"RuntimeError: Error building extension 'gymtorch'",
        "",
        "gymtorch could not be compiled; the first line with `error` or `cannot find`, far above, says why",
        "python -m harness doctor --upstream checks ninja and the compiler; after a repair, delete "
        "~/.cache/torch_extensions",
        "leggedrobotics/legged_gym#32, Improbable-AI/pql#6",
    ),
    KnownError(
        r"AttributeError: (type object )?'isaacgym\._bindings\.\S*\.(?P<kind>\w+)' (object )?has no attribute "
        r"'(?P<name>\w+)'",
        "",
        "this Isaac Gym is another version than the code was written for: its {kind} has no {name}",
        "install Isaac Gym Preview 4, or delete the line if the option does not matter",
        "isaac-sim/IsaacGymEnvs#61",
    ),
    # MuJoCo Warp
    KnownError(
        r"AttributeError: 'mujoco\._structs\.\w+' object has no attribute '(?P<name>\w+)'",
        r"mujoco_warp|\bmjx\b",
        "mujoco_warp and mujoco are of different versions: the one asks the other for {name}, which it does not have",
        "install the pair that was released together: pip install -U mujoco mujoco-warp",
        "google-deepmind/mujoco_warp#313",
    ),
    KnownError(
        r"AttributeError: module 'warp(\.\w+)*' has no attribute '(?P<name>\w+)'",
        r"mujoco_warp|\bmjx\b",
        "mujoco_warp and warp-lang are of different versions: there is no {name} in this warp",
        "install the warp-lang that this mujoco_warp asks for: pip install --force-reinstall mujoco-warp",
        "google-deepmind/mujoco_warp#248, google-deepmind/mujoco_playground#317",
    ),
    KnownError(
        r"NotImplementedError: (?P<feature>.*?) ?(is unsupported|not supported|is not supported|are not supported|"
        r"is not implemented|not implemented)\b",
        r"mujoco_warp",
        "the model uses a feature of MuJoCo that MuJoCo Warp lacks: {feature}",
        "change the option or the element in the XML, such as <flag multiccd='disable'/>; the README of mujoco_warp "
        "lists what is missing",
        "mujocolab/mjlab#441",
    ),
    KnownError(
        r"ValueError: (?P<buffer>n\w*max) overflow \((?P=buffer) must be >= (?P<needed>\d+)\)",
        r"mujoco_warp",
        "the first state has more contacts or constraints than {buffer} allows; it needs {needed}, and more in motion",
        "pass a larger {buffer} to put_data or make_data",
        "google-deepmind/mujoco_warp#411",
    ),
)


def explain(symptom: Symptom) -> Optional[Cause]:
    """Return the cause of a failure; None if it is not known."""
    places = [str(line) for line in symptom.own] or [""]
    for known in KNOWN_ERRORS:
        found = re.match(known.what, symptom.what[:MAX_MESSAGE].strip(), re.MULTILINE)
        if found and re.search(known.place, places[0]) and re.search(known.within, "\n".join(places)):
            return _cause(known, found.groupdict(), symptom)
    return None


def _cause(known: KnownError, groups: dict, symptom: Symptom) -> Cause:
    """Return the cause of a failure that an entry explains, with what the message and the failure tell."""
    more = known.more(symptom)
    cause = known.cause
    if "{more}" not in cause:
        cause += "{more}"
    return Cause(cause.format(more=more, **groups), known.fix.format(**groups))
