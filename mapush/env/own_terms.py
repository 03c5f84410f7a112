"""Reward terms of the user's own: functions that the task names, validated before the first step."""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any, Callable, Dict, Sequence, Tuple

import torch

from mapush.env import rewards
from mapush.env.pushed_object import object_of
from mapush.env.rewards import RewardInputs
from mapush.errors import ConfigError, NonFiniteError, SpecError
from mapush.own import named_code
from mapush.sim.geometry import yaw_of
from mapush.sim.physics import State

FLAG = named_code.TERMS_FLAG


@dataclasses.dataclass(frozen=True)
class TermInputs(RewardInputs):
    """What a reward term of your own may depend on, for E envs of A robots: a `RewardInputs`, and the robots' motion.

    Attributes:
      robot_yaw: (E, A) [rad].
      robot_lin_vel_w: velocity of the trunks [m/s], (E, A, 3).
    """

    robot_yaw: torch.Tensor
    robot_lin_vel_w: torch.Tensor


@dataclasses.dataclass(frozen=True)
class OwnTerm:
    """A reward term of the user's own.

    Attributes:
      name: name of the function; of the term in the log.
      function: takes `TermInputs`, returns (E, A) or (E,) float32 on the same device, and changes nothing.
      weight: what its value is multiplied by.
      reference: the function as the user named it.
    """

    name: str
    function: Callable[[TermInputs], torch.Tensor]
    weight: float
    reference: str

    def weighted(self, inputs: TermInputs) -> torch.Tensor:
        """Return the term, (E, A)."""
        value = self.weight * self.function(inputs)
        if value.dim() == 1:
            value = value.unsqueeze(1).expand(inputs.robot_yaw.shape)
        return value

    def validate(self, inputs: TermInputs) -> None:
        """Call the function once, and check what it returns.

        Raises:
          ConfigError: the function fails or changes its arguments.
          SpecError: its value has a wrong type, shape or device.
          NonFiniteError: its value is NaN or infinite.
        """
        copies = {field.name: getattr(inputs, field.name).clone() for field in dataclasses.fields(inputs)}
        try:
            value = self.function(inputs)
        except Exception as error:
            raise self._failed(error) from error
        self._require_form(value, inputs.robot_yaw)
        if not bool(value.isfinite().all()):
            bad = int((~value.isfinite()).sum())
            got = f"{bad} of {value.numel()} values are nan or inf"
            raise NonFiniteError(f"the reward term {self.name!r} is not finite", where=self._where, got=got)
        for name, before in copies.items():
            if not torch.equal(before, getattr(inputs, name)):
                fix = "work on a copy: x = inputs.name.clone()"
                what = f"the reward term {self.name!r} changes its input {name}"
                raise ConfigError(what, where=self._where, fix=fix)

    @property
    def _where(self) -> str:
        return f"{FLAG} {self.reference}, in the first state"

    def _failed(self, error: Exception) -> ConfigError:
        last = traceback.extract_tb(error.__traceback__)[-1]
        got = f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
        expected = "a function of one argument, mapush.env.own_terms.TermInputs"
        return ConfigError(f"the reward term {self.name!r} fails", where=self._where, got=got, expected=expected)

    def _require_form(self, value: Any, example: torch.Tensor) -> None:
        envs, agents = example.shape
        expected = f"float32 ({envs}, {agents}) = (num_envs, num_agents), or ({envs},), on {example.device}"
        got = f"a {type(value).__name__}"
        if isinstance(value, torch.Tensor):
            got = f"{str(value.dtype).replace('torch.', '')} {tuple(value.shape)} on {value.device}"
            good_shape = tuple(value.shape) in ((envs, agents), (envs,))
            if good_shape and value.dtype == torch.float32 and value.device == example.device:
                return
        what = f"the reward term {self.name!r} has the wrong form"
        raise SpecError(what, where=self._where, got=got, expected=expected)


def load_terms(texts: Sequence[str]) -> Tuple[OwnTerm, ...]:
    """Return the terms that a task names.

    Args:
      texts: each is FILE.py:function=weight or package.module:function=weight.

    Raises:
      ConfigError: a function does not exist, or two terms have one name.
    """
    found: Dict[str, OwnTerm] = {}
    for text in texts:
        reference, weight = named_code.weighted(text)
        function = named_code.load_function(reference, FLAG)
        name = reference.rpartition(":")[2].rpartition(".")[2]
        if name in rewards.TERMS or name in found:
            fix = "give the function a different name"
            raise ConfigError("two reward terms have one name", where=f"{FLAG} {text}", got=repr(name), fix=fix)
        found[name] = OwnTerm(name, function, weight, reference)
    return tuple(found.values())


class OwnTerms:
    """The user's own terms of a task.

    Args:
      texts: see `load_terms`.
      device: of the states.

    Attributes:
      names: their names, in order.

    Raises:
      ConfigError: see `load_terms`.
    """

    def __init__(self, texts: Sequence[str], device: torch.device) -> None:
        self._terms = load_terms(texts)
        self._finite = torch.ones(len(self._terms), dtype=torch.bool, device=device)
        self.names = tuple(term.name for term in self._terms)

    def compute(self, inputs: RewardInputs, state: State) -> Dict[str, torch.Tensor]:
        """Return the weighted terms by name, (E, A) each, and remember on the device which were finite."""
        if not self._terms:
            return {}
        own_inputs = _term_inputs(inputs, state)
        values = {term.name: term.weighted(own_inputs) for term in self._terms}
        self._finite.logical_and_(torch.stack([value.isfinite().all() for value in values.values()]))
        return values

    def validate(self, state: State, goal_pos_w: torch.Tensor) -> None:
        """Check every term in the first state of a run; see `OwnTerm.validate`."""
        thing = object_of(state)
        nowhere = torch.zeros(len(goal_pos_w), dtype=torch.bool, device=goal_pos_w.device)
        inputs = RewardInputs(
            robot_pos_w=state.robot_pos_w,
            object_pos_w=thing.pos_w,
            object_yaw=yaw_of(thing.quat_w),
            object_lin_vel_w=thing.lin_vel_w,
            previous_object_xy=thing.pos_w[:, :2],
            goal_pos_w=goal_pos_w,
            success=nowhere,
            exception=nowhere,
        )
        for term in self._terms:
            term.validate(_term_inputs(inputs, state))

    def require_finite(self, env_step: int) -> None:
        """Wait for the device, and raise NonFiniteError if a term was NaN or infinite since the last `forget`."""
        if len(self._terms) == 0 or bool(self._finite.all()):
            return
        first = int((~self._finite).nonzero()[0])
        what = f"the reward term {self.names[first]!r} is not finite"
        where = f"{FLAG} {self._terms[first].reference}, env step {env_step}"
        cause = "a division by zero, or a logarithm or root of a number that is not positive"
        raise NonFiniteError(what, where=where, cause=cause)

    def forget(self) -> None:
        """Forget that a term was not finite."""
        self._finite.fill_(True)


def _term_inputs(inputs: RewardInputs, state: State) -> TermInputs:
    return TermInputs(
        **{field.name: getattr(inputs, field.name) for field in dataclasses.fields(RewardInputs)},
        robot_yaw=yaw_of(state.robot_quat_w),
        robot_lin_vel_w=state.robot_lin_vel_w,
    )
