"""Settings that cannot act in a run, because its simulator or its learner does not read them."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, NamedTuple, Optional

from mapush.config import RunConfig, WalkRunConfig, to_dict
from mapush.errors import ConfigError
from mapush.run.folder import flat
from mapush.sim import ISAAC_GYM, STANDIN


class _Chosen(NamedTuple):
    """What decides which settings act.

    Attributes:
      config: resolved configuration.
      standin_on_gpu: whether the stand-in for Isaac Gym computes on a GPU.
    """

    config: RunConfig
    standin_on_gpu: bool

    @property
    def simulator(self) -> str:
        """The backend; "" for an environment of your own."""
        if type(self.config) is RunConfig:
            return ""
        return self.config.sim.backend

    @property
    def gpu_simulator(self) -> bool:
        """Whether one of our simulators computes on a GPU."""
        return self.simulator == "warp" or (self.simulator == STANDIN and self.standin_on_gpu)

    @property
    def sized_buffers(self) -> bool:
        """Whether the simulator takes the sizes of its buffers from the configuration."""
        legs = isinstance(self.config, WalkRunConfig) and self.config.task.robot == "mapush"
        return self.gpu_simulator and not legs


class _Rule(NamedTuple):
    """When a setting acts.

    Attributes:
      acts: decides it.
      where: the same in words.
    """

    acts: Callable[[_Chosen], bool]
    where: str


_BUFFERS = _Rule(lambda place: place.sized_buffers, "--sim warp, and --sim standin on a GPU")
_RULES: Dict[str, _Rule] = {
    "vram_limit": _Rule(lambda place: place.gpu_simulator, "--sim warp, and --sim standin on a GPU"),
    "sim.threads": _Rule(
        lambda place: place.simulator == "mujoco" or (place.simulator == STANDIN and not place.standin_on_gpu),
        "--sim mujoco, and --sim standin on a CPU",
    ),
    "sim.nconmax": _BUFFERS,
    "sim.njmax": _BUFFERS,
    "sim.contact_pairs": _Rule(lambda place: place.simulator in (ISAAC_GYM, STANDIN), "--sim isaacgym"),
    "harl.eval_episodes": _Rule(lambda place: place.config.learner == "harl", "--learner harl"),
}


def refuse_idle(config: RunConfig, before: Optional[RunConfig] = None, standin_on_gpu: bool = False) -> None:
    """Refuse a run with settings that cannot act in it, all in one message.

    Settings that keep their default are not judged; nor are, in a run that is resumed, those that it was made with.

    Args:
      config: resolved configuration.
      before: configuration of the run that is resumed; None for a new one.
      standin_on_gpu: whether the stand-in for Isaac Gym computes on a GPU.

    Raises:
      ConfigError: names each of them, and where it acts.
    """
    place = _Chosen(config, standin_on_gpu)
    usual: Dict[str, Any] = flat(to_dict(before or RunConfig()))
    idle: List[str] = []
    for name, value in flat(to_dict(config)).items():
        rule = _RULES.get(name)
        if rule is not None and value != usual.get(name) and not rule.acts(place):
            idle.append(f"--{name.replace('_', '-')} {value}, which acts only with {rule.where}")
    if idle:
        raise ConfigError(
            "a setting that cannot act in this run",
            where=_describe(place),
            got="; ".join(idle),
            fix="leave it out, or choose what it acts on",
        )


def _describe(place: _Chosen) -> str:
    simulator = f"--sim {place.simulator}"
    if place.simulator == "":
        simulator = "your own environment"
    return f"{simulator}, --learner {place.config.learner}"
