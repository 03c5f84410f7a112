"""The contract of `available_actions`.

Besides the form at every step, the long run is searched for states that come with different masks. A mask is a function
of the state, so if an agent sees the same numbers in `obs` and `share_obs` twice, the masks must be equal. Different
masks in several states mean that the mask belongs to a different moment than the state. One or two such states may be
an accident: the state may not show everything that the mask depends on.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError
from harness.interface.harl_forms import (
    ARRAY_OF_NONES,
    ARRAY_OF_NUMBERS,
    NESTED_NONES,
    ONE_NONE_EACH,
    PLAIN_NONE,
    UPSTREAM,
    HarlForms,
    form_of,
)
from harness.interface.infos import describe
from harness.interface.moment import Moment
from harness.interface.player import Seen

MIN_CONTRADICTIONS = 5  # states with different masks that are not an accident


@contract("available-actions")
def available_actions(subject: EnvUnderTest) -> None:
    """`available_actions` is [None] * num_envs for Box; a mask of ones and zeros for Discrete, one for each state."""
    require_one_mask_for_each_state(subject.long_run().seen)


class _Masked(NamedTuple):
    """A mask, and where it was seen."""

    step: int
    env: int
    mask: np.ndarray


State = Tuple[int, bytes, bytes]  # agent, its observation, its shared observation


def require_one_mask_for_each_state(history: List[Seen]) -> None:
    """Raise if agents see the same state several times with different masks."""
    first: Dict[State, _Masked] = {}
    contradictions: Dict[State, Tuple[_Masked, _Masked]] = {}
    for step, seen in enumerate(history):
        if seen.available is None:
            continue
        for env, agent in np.ndindex(*seen.available.shape[:2]):
            state = (agent, seen.obs[env, agent].tobytes(), seen.share_obs[env, agent].tobytes())
            current = _Masked(step, env, seen.available[env, agent])
            known = first.setdefault(state, current)
            if (known.mask != current.mask).any():
                contradictions.setdefault(state, (known, current))
    if len(contradictions) < MIN_CONTRADICTIONS:
        return
    (agent, _, _), (known, current) = next(iter(contradictions.items()))
    raise ContractError(
        "the same state comes with different available_actions",
        step=current.step,
        where=f"env {current.env}, agent {agent}, step {current.step}; it was seen in env {known.env} at step "
        f"{known.step}",
        got=f"{current.mask.astype(int).tolist()}, in {len(contradictions)} states",
        expected=f"{known.mask.astype(int).tolist()}, as before",
        cause="the mask belongs to a different moment: to the step before, or to the episode that has ended",
        fix="compute it from the state that is shown, after the reset; or show what it depends on in share_obs",
    )


@contract("available-actions", every_step=True, at_reset=True)
def available_actions_step(moment: Moment) -> None:
    """`available_actions` has the form that is legal for the action space."""
    if moment.sizes.maskable:
        _require_masks(moment)
    else:
        _require_nones(moment)


def _require_nones(moment: Moment) -> None:
    value, num_envs = moment.parts["available_actions"], moment.sizes.num_envs
    form = form_of(value, num_envs)
    if form == ONE_NONE_EACH or _is_accepted(moment, form):
        return
    forms = moment.judged_for.forms()
    raise moment.error(
        f"available_actions is {describe(value)}, not [None] * num_envs",
        expected=f"[None] * {num_envs}, as the actions are continuous",
        cause=_why_refused(form, forms),
        fix=_fix_of_nones(forms),
    )


def _fix_of_nones(forms: HarlForms) -> str:
    fix = "return [None] * self.num_envs"
    if forms == UPSTREAM:
        fix += "; if your HARL accepts this form, name it: --harl DIR"
    return fix


def _is_accepted(moment: Moment, form: str) -> bool:
    """Return whether the user's HARL accepts a form that upstream's does not; a note says so."""
    forms = moment.judged_for.forms()
    if form not in forms.in_training:
        return False
    text = f"available_actions is {form}: {forms.name} accepts it"
    if form not in forms.in_evaluation:
        text += " in training, but not in its evaluation (use_eval)"
    moment.judged_for.note(f"{text}; {UPSTREAM.name} needs {ONE_NONE_EACH}")
    return True


def _why_refused(form: str, forms: HarlForms) -> Optional[str]:
    """Return why a form of `available_actions` fails."""
    if form == PLAIN_NONE:
        return f"the runner of {forms.name} indexes it at every step"
    if form in (NESTED_NONES, ARRAY_OF_NONES, ARRAY_OF_NUMBERS):
        return f"the runner of {forms.name} hands it to a buffer that has no place for it if actions are continuous"
    return None


def _require_masks(moment: Moment) -> None:
    masks, sizes = moment.parts["available_actions"], moment.sizes
    shape = (sizes.num_envs, sizes.num_agents, sizes.num_choices)
    if not isinstance(masks, np.ndarray) or masks.shape != shape or masks.dtype.kind not in "fiub":
        raise moment.error(
            f"available_actions is {describe(masks)}, not an array {shape}",
            expected="ones and zeros (num_envs, num_agents, n), as the actions are Discrete",
            cause="HARL silently keeps the old mask, or broadcasts this one",
        )
    if not np.isin(masks, (0, 1)).all():
        raise moment.error("available_actions holds other values than 0 and 1", got=f"{np.unique(masks)[:5]}")
    blocked = np.argwhere(~masks.any(axis=-1))
    if len(blocked):
        raise moment.error(
            "no action is available to an agent",
            moment.at(*blocked[0]),
            cause="HARL then draws from all actions, including illegal ones",
        )
