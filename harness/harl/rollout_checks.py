"""Checks of what the runner stores in its buffers: it is what the environment was given and returned."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.harl.run_recording import HarlRollout, RecordedStep
from harness.harl.runner_checks import judges
from harness.harl.trial import Trial

TOLERANCE = 1e-5
ALIKE = 0.8  # correlation of a feature with itself after a running normalisation
STORING = ("insert", "collect", "run", "__init__")
"""Methods of a runner that fill the buffers; the first that the user wrote is named."""


class StoredDifference(NamedTuple):
    """Where two arrays of a rollout differ first.

    Attributes:
      place: in both arrays.
      got: the stored number.
      expected: the number that should be stored.
    """

    place: Tuple[int, ...]
    got: float
    expected: float


def first_difference(got: Any, expected: Any, tolerance: float = TOLERANCE) -> Optional[StoredDifference]:
    """Return where two arrays differ first; None if they are equal within a tolerance.

    Raises:
      NotJudgedError: they cannot be compared.
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        raise NotJudgedError(f"an array of {got.shape} cannot be compared with one of {expected.shape}")
    wrong = np.argwhere(~np.isclose(got, expected, rtol=tolerance, atol=tolerance, equal_nan=True))
    if len(wrong) == 0:
        return None
    index = tuple(map(int, wrong[0]))
    return StoredDifference(index, float(got[index]), float(expected[index]))


def judged_rollouts(trial: Trial) -> List[HarlRollout]:
    """Return the rollouts whose steps are known one by one.

    Raises:
      NotJudgedError: there are none.
    """
    num_steps = trial.settings.train["episode_length"]
    for rollout in trial.require_rollouts():
        if len(rollout.steps) != num_steps:
            raise NotJudgedError(f"the environment took {len(rollout.steps)} steps for {num_steps} stored ones")
        if any(step.obs is None or step.actions is None for step in rollout.steps):
            raise NotJudgedError("the environment returns, or is given, something else than numpy arrays")
    return trial.require_rollouts()


def _array(buffer: Any, name: str) -> np.ndarray:
    if name not in buffer:
        raise NotJudgedError(f"the buffer has no {name}")
    return buffer[name]


def _stack(steps: List[RecordedStep], name: str) -> np.ndarray:
    parts = [getattr(step, name) for step in steps]
    if any(part is None for part in parts):
        raise NotJudgedError(f"{name} is no numpy array")
    return np.stack(parts)


@judges("actor-input")
def actor_input(trial: Trial) -> None:
    """Each actor is fed with the observation of its own agent, of the same step."""
    for number, rollout in enumerate(judged_rollouts(trial)):
        obs = np.concatenate([rollout.before[0][None], _stack(rollout.steps, "obs")])
        for agent, buffer in enumerate(rollout.actor_buffers):
            found = first_difference(_array(buffer, "obs"), obs[:, :, agent])
            if found is not None:
                _require_unlike(buffer["obs"], obs[:, :, agent])
                raise _misplaced(trial, f"obs of actor {agent}", "obs", found, obs[:, :, :, :], number)


@judges("critic-input")
def critic_input(trial: Trial) -> None:
    """The critic is fed with what the environment calls share_obs, of the same step."""
    per_agent = trial.settings.state_type == "FP"
    for number, rollout in enumerate(judged_rollouts(trial)):
        share_obs = np.concatenate([rollout.before[1][None], _stack(rollout.steps, "share_obs")])
        expected = share_obs if per_agent else share_obs[:, :, 0]
        stored = _array(rollout.critic_buffer, "share_obs")
        obs = np.concatenate([rollout.before[0][None], _stack(rollout.steps, "obs")])
        if stored.shape != expected.shape:
            raise ContractError(
                f"the critic is fed with {stored.shape[-1]} numbers, and share_obs has {expected.shape[-1]}",
                where=trial.place_of_method(*STORING),
                cause="the critic's buffer is filled with something else than share_obs",
                fix="insert share_obs[:, 0] in EP mode, share_obs in FP mode",
            )
        found = first_difference(stored, expected)
        if found is not None:
            _require_unlike(stored, expected)
            raise _misplaced(trial, "share_obs of the critic", "share_obs", found, obs, number)
    _require_values_of_share_obs(trial)


def _require_values_of_share_obs(trial: Trial) -> None:
    """Raise if the stored values of the first rollout are not those of the critic for the stored share_obs."""
    before, rollout = trial.before_update, trial.rollouts[0]
    if before is None or before.critic is None or trial.settings.algo_args["model"].get("use_recurrent_policy"):
        return
    buffer = rollout.critic_buffer
    share_obs, states, masks = buffer["share_obs"], buffer.get("rnn_states_critic"), buffer["masks"]
    flat = (share_obs.reshape(-1, share_obs.shape[-1]), _flat_states(states, share_obs), masks.reshape(-1, 1))
    try:
        values, _ = before.critic.get_values(*flat)
        values = values.detach().cpu().numpy().reshape(buffer["value_preds"].shape)
    except Exception:
        return  # a critic of another form; its input was compared above
    found = first_difference(buffer["value_preds"], values, tolerance=1e-3)
    if found is not None:
        raise ContractError(
            "the stored values are not what the critic says of the stored share_obs",
            where=trial.place_of_method("collect", "compute", "insert"),
            got=f"{found.got:.5g} at step {found.place[0]}, env {found.place[1]}",
            expected=f"{found.expected:.5g}",
            cause="collect or compute gives the critic something else, or the values are stored at another step",
        )


def _flat_states(states: Any, share_obs: np.ndarray) -> Any:
    if states is None:
        return None
    return states.reshape(int(np.prod(share_obs.shape[:-1])), *states.shape[share_obs.ndim - 1 :])


def _require_unlike(got: np.ndarray, expected: np.ndarray) -> None:
    """Raise `NotJudgedError` if most features are the expected ones on another scale, as a normaliser leaves them."""
    alike = []
    columns = expected.reshape(-1, expected.shape[-1]), got.reshape(-1, got.shape[-1])
    for wanted, stored in zip(columns[0].T.astype(np.float64), columns[1].T.astype(np.float64)):
        if wanted.std() > 0.0 and stored.std() > 0.0:
            alike.append(float(np.corrcoef(wanted, stored)[0, 1]) > ALIKE)
    if alike and 2 * sum(alike) > len(alike):
        raise NotJudgedError("what is stored is on another scale: the runner seems to normalise it")


def _misplaced(
    trial: Trial, what: str, name: str, found: StoredDifference, candidates: np.ndarray, rollout: int
) -> ContractError:
    step, env = found.place[:2]
    cause = "another array, or another moment"
    if np.isclose(candidates[step], found.got, rtol=TOLERANCE).any():
        cause = "an array of the same step, but of another agent, env or kind"
    elif step and np.isclose(candidates[step - 1], found.got, rtol=TOLERANCE).any():
        cause = "the array of the step before"
    elif step == 0 and rollout > 0:
        cause = "after_update does not move the last step of a rollout to the front of the next"
    return ContractError(
        f"{what} is not the {name} of the environment",
        where=trial.place_of_method(*STORING, "after_update"),
        got=f"{found.got:.5g} at rollout {rollout + 1}, step {step}, env {env}",
        expected=f"{found.expected:.5g}, as the environment returned",
        cause=cause,
    )


@judges("stored-actions")
def stored_actions(trial: Trial) -> None:
    """The stored action of each agent and env is the one that the environment was given."""
    for number, rollout in enumerate(judged_rollouts(trial)):
        actions = _stack(rollout.steps, "actions")
        num_envs, num_agents = rollout.before[0].shape[:2]
        if actions.shape[1:3] != (num_envs, num_agents):
            raise ContractError(
                f"the environment is given actions of shape {actions.shape[1:]}, not ({num_envs}, {num_agents}, ...)",
                where=trial.place_of_method("collect", "run"),
                got=f"{actions.shape[1]} x {actions.shape[2]}; {num_envs} is num_envs, {num_agents} is num_agents",
                cause="agents and envs are transposed",
                fix="hand over what collect returns: (num_envs, num_agents, action_dim)",
            )
        for agent, buffer in enumerate(rollout.actor_buffers):
            found = first_difference(_array(buffer, "actions"), actions[:, :, agent])
            if found is not None and _same_order(buffer["actions"], actions[:, :, agent]):
                _note_changed_actions(trial)
            elif found is not None:
                raise _other_action(trial, found, agent, actions, number)


def _same_order(stored: np.ndarray, given: np.ndarray) -> bool:
    """Return whether each entry that was given grows with the one that is stored, as clipping and scaling leave it."""
    stored, given = stored.reshape(-1, stored.shape[-1]), given.reshape(-1, given.shape[-1])
    for axis in range(stored.shape[-1]):
        in_order = given[np.argsort(stored[:, axis], kind="stable"), axis]
        if (np.diff(in_order) < -TOLERANCE).any():
            return False
    return True


def _note_changed_actions(trial: Trial) -> None:
    trial.notes.append("actions are clipped or scaled on the way to the environment: they were judged by their order")


def _other_action(
    trial: Trial, found: StoredDifference, agent: int, actions: np.ndarray, rollout: int
) -> ContractError:
    step, env = found.place[:2]
    cause = "actions are changed between collect and step: clipped, scaled, or written in place by the environment"
    if np.isclose(actions[step], found.got, rtol=TOLERANCE).any():
        cause = "actions of agents or envs are exchanged on the way to the environment"
    return ContractError(
        "the stored action is not the one that the environment was given",
        where=trial.place_of_method(*STORING),
        got=f"{found.got:.5g} stored for agent {agent}, env {env}, at rollout {rollout + 1}, step {step}",
        expected=f"{found.expected:.5g}, which the environment was given",
        cause=cause,
        fix="store what was sampled, with its log-probabilities; let the environment clip a copy",
    )


@judges("masks")
def masks(trial: Trial) -> None:
    """Ends of episodes and time limits are stored at their own step, and reach the next rollout."""
    ends = limits = 0
    for number, rollout in enumerate(judged_rollouts(trial)):
        steps = ([rollout.previous] if rollout.previous is not None else []) + rollout.steps
        dones = _stack(steps, "dones").astype(bool)
        flags = np.stack([step.flags for step in steps]) == 1.0
        offset = 0 if rollout.previous is not None else 1
        over = dones.all(axis=2)
        ends, limits = ends + int(over.sum()), limits + int(flags.sum())
        for agent, buffer in enumerate(rollout.actor_buffers):
            _require_masks(trial, f"masks of actor {agent}", _array(buffer, "masks")[offset:, :, 0], ~over, number)
            active = ~dones[:, :, agent] | over
            stored = _array(buffer, "active_masks")[offset:, :, 0]
            _require_masks(trial, f"active_masks of actor {agent}", stored, active, number)
        stored, bad = _array(rollout.critic_buffer, "masks"), _array(rollout.critic_buffer, "bad_masks")
        if stored.ndim == 4:
            _require_masks(trial, "masks of the critic", stored[offset:, :, 0, 0], ~over, number)
            _require_masks(trial, "bad_masks", bad[offset:, ..., 0], ~flags, number)
        else:
            _require_masks(trial, "masks of the critic", stored[offset:, :, 0], ~over, number)
            _require_masks(trial, "bad_masks", bad[offset:, :, 0], ~flags[:, :, 0], number)
    if ends == 0:
        raise NotJudgedError("no episode ended")
    if limits == 0:
        trial.notes.append("no time limit was flagged by bad_transition: bad_masks were judged without one")


def _require_masks(trial: Trial, name: str, stored: np.ndarray, expected: Any, rollout: int) -> None:
    found = first_difference(stored, expected)
    if found is None:
        return
    what = f"{name}: an end is not stored"
    if name == "bad_masks":
        what = "bad_masks: a time limit is stored as a failure"
    if found.got < found.expected:
        what = f"{name}: an end is stored where none was"
        if name == "bad_masks":
            what = "bad_masks: a step that is no time limit is stored as one"
    raise ContractError(
        what,
        where=trial.place_of_method("insert", "after_update"),
        got=f"{found.got:g} after rollout {rollout + 1}, step {found.place[0]}, env {found.place[1]}",
        expected=f"{found.expected:g}",
        cause="masks are made from other dones or infos than those of this step, or at another step",
        fix="mask[t + 1] = 0 where the step t ended the episode; bad_mask[t + 1] = 0 where it was a time limit",
    )
