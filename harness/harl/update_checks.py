"""Checks of an update: probabilities, advantages, losses, and what a checkpoint restores."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.harl.rollout_checks import first_difference
from harness.harl.run_recording import HarlRollout
from harness.harl.runner_checks import judges
from harness.harl.trial import BeforeUpdate, Trial
from harness.harl.users_lines import innermost_place, place_of
from harness.interface.player import first_line

LOSSES_THAT_ARE_MEANS = ("dist_entropy", "policy_loss", "value_loss")
NOT_RECURRENT = ("use_recurrent_policy", "use_naive_recurrent_policy")
TOLERANCE = 2e-3


def _before_update(trial: Trial) -> BeforeUpdate:
    trial.require_rollouts()
    before = trial.before_update
    if before is None or any(part is None for part in (*before.actors, *before.actor_buffers, before.critic)):
        raise NotJudgedError("networks or buffers cannot be copied")
    if any(trial.settings.algo_args["model"].get(name) for name in NOT_RECURRENT):
        raise NotJudgedError("networks are recurrent")
    return before


@judges("log-probs")
def log_probs(trial: Trial) -> None:
    """Before an update, log-probabilities recomputed from stored observations and actions equal the stored ones."""
    before = _before_update(trial)
    for agent, (actor, buffer) in enumerate(zip(before.actors, before.actor_buffers)):
        rows = buffer.actions.shape[0] * buffer.actions.shape[1]

        def flat(array: Any, rows: int = rows) -> Any:
            return array.reshape(rows, *array.shape[2:])

        available = getattr(buffer, "available_actions", None)
        if available is not None:
            available = flat(available[:-1])
        try:
            result = actor.evaluate_actions(
                flat(buffer.obs[:-1]),
                flat(buffer.rnn_states[:-1]),
                flat(buffer.actions),
                flat(buffer.masks[:-1]),
                available,
                flat(buffer.active_masks[:-1]),
            )
        except Exception as error:
            raise NotJudgedError(f"evaluate_actions cannot be called as HARL's: {type(error).__name__}") from None
        found = first_difference(flat(buffer.action_log_probs), result[0].detach().cpu().numpy(), TOLERANCE)
        if found is not None:
            raise ContractError(
                "the stored log-probabilities are not those of the stored actions",
                where=trial.place_of_method("collect", "insert"),
                got=f"{found.got:.5g} for agent {agent}",
                expected=f"{found.expected:.5g}, recomputed before any update",
                cause="the stored action or observation is not the one that was sampled for: the ratio of the first "
                "update is not 1",
            )


# -- advantages -------------------------------------------------------------------------------------------------------


@judges("advantages")
def advantages(trial: Trial) -> None:
    """Returns and advantages equal those of an independent GAE in float64, across ends and time limits."""
    settings = {**trial.settings.train, **trial.settings.algo_args["algo"]}
    if not settings.get("use_gae", True):
        raise NotJudgedError("use_gae is False")
    for number, rollout in enumerate(trial.require_rollouts()):
        values = _values(rollout)
        expected = _gae(rollout.critic_buffer, values, settings)
        found = first_difference(rollout.critic_buffer["returns"][:-1], expected, TOLERANCE)
        if found is not None:
            raise ContractError(
                "returns are not those of GAE",
                where=trial.place_of_method("compute", "train"),
                got=f"{found.got:.5g} at rollout {number + 1}, step {found.place[0]}, env {found.place[1]}",
                expected=f"{found.expected:.5g}: delta = r + gamma V' m' - V, cut where bad_masks is 0",
                cause="ends, time limits, gamma, lambda or the value after the last step are used in another way",
            )
        _require_advantages(trial, rollout, expected - values[:-1])


def _values(rollout: HarlRollout) -> np.ndarray:
    values = rollout.critic_buffer["value_preds"]
    if rollout.normalizer is not None:
        try:
            values = rollout.normalizer.denormalize(values)
        except Exception as error:
            raise NotJudgedError(f"the value normaliser raises {type(error).__name__}") from None
        values = np.asarray(values)
    return values.astype(np.float64)


def _gae(buffer: Dict[str, np.ndarray], values: np.ndarray, settings: Dict[str, Any]) -> np.ndarray:
    gamma, decay = float(settings["gamma"]), float(settings["gae_lambda"])
    rewards = buffer["rewards"].astype(np.float64)
    masks = buffer["masks"].astype(np.float64)
    bad = buffer["bad_masks"].astype(np.float64)
    if not settings.get("use_proper_time_limits", True):
        bad = np.ones_like(bad)
    gae, returns = np.zeros_like(rewards[0]), np.zeros_like(rewards)
    for step in range(len(rewards) - 1, -1, -1):
        delta = rewards[step] + gamma * values[step + 1] * masks[step + 1] - values[step]
        gae = bad[step + 1] * (delta + gamma * decay * masks[step + 1] * gae)
        returns[step] = gae + values[step]
    return returns


def _require_advantages(trial: Trial, rollout: HarlRollout, expected: np.ndarray) -> None:
    """Raise if an actor was trained with other advantages; a shift and a scale are no difference."""
    for agent, given in rollout.advantages.items():
        wanted = expected
        if expected.ndim == 4:
            wanted = expected[:, :, agent]
        if np.shape(given) != wanted.shape:
            raise NotJudgedError(f"actors are trained with advantages of shape {np.shape(given)}")
        if first_difference(_standardised(given), _standardised(wanted), 10 * TOLERANCE) is not None:
            raise ContractError(
                f"actor {agent} is trained with other advantages than returns minus values",
                where=trial.place_of_method("train"),
                cause="values are not denormalised, or advantages belong to another agent",
            )


def _standardised(array: Any) -> np.ndarray:
    array = np.asarray(array, np.float64)
    return (array - array.mean()) / (array.std() + 1e-9)


# -- losses -----------------------------------------------------------------------------------------------------------


@judges("batch-independent")
def batch_independent(trial: Trial) -> None:
    """Entropy and losses are means: they do not change if every env occurs twice in the batch."""
    before = _before_update(trial)
    advantages = next(iter(trial.rollouts[0].advantages.values()), None)
    pairs: List[Tuple[Any, Dict[str, Any], Dict[str, Any]]] = []
    if advantages is not None:
        try:
            losses = _losses_of_actor(trial, before, advantages, with_factor=True)
        except NotJudgedError:
            losses = _losses_of_actor(trial, before, advantages, with_factor=False)
        pairs.append((before.actors[0], *losses))
    else:
        trial.notes.append("actors are not trained through actor.train: only the critic's loss was judged")
    losses = []
    for copies in (1, 2):
        normalizer = copy.deepcopy(before.normalizer)
        losses.append(_train(_one_epoch(before.critic), _repeated(before.critic_buffer, copies), normalizer))
    pairs.append((before.critic, *losses))
    for learner, once, twice in pairs:
        _require_same_losses(learner, once, twice)


def _losses_of_actor(trial: Trial, before: BeforeUpdate, advantages: Any, with_factor: bool) -> List[Dict[str, Any]]:
    """Return what the first actor's training says of the batch, and of the batch in which every env occurs twice."""
    losses = []
    for copies in (1, 2):
        buffer = _repeated(before.actor_buffers[0], copies)
        _give_weights(buffer, with_factor)
        tiled = np.concatenate([advantages] * copies, axis=1)
        losses.append(_train(_one_epoch(before.actors[0]), buffer, tiled, trial.settings.state_type))
    return losses


def _one_epoch(learner: Any) -> Any:
    learner = copy.deepcopy(learner)
    for name in ("ppo_epoch", "critic_epoch", "actor_num_mini_batch", "critic_num_mini_batch"):
        if hasattr(learner, name):
            setattr(learner, name, 1)
    return learner


def _repeated(buffer: Any, copies: int) -> Any:
    """Return a copy of a buffer in which every env occurs several times."""
    buffer = copy.deepcopy(buffer)
    num_envs = buffer.n_rollout_threads
    for name, value in vars(buffer).items():
        if isinstance(value, np.ndarray) and value.ndim > 1 and value.shape[1] == num_envs:
            setattr(buffer, name, np.concatenate([value] * copies, axis=1))
    buffer.n_rollout_threads = num_envs * copies
    return buffer


def _give_weights(buffer: Any, with_factor: bool) -> None:
    """Make the loss of the first update different from 0, which it is where ratios are 1 and advantages centred."""
    steps = np.linspace(0.5, 1.5, len(buffer.actions), dtype=np.float32)
    if with_factor:
        buffer.factor = np.ones((*buffer.actions.shape[:2], 1), np.float32) * steps[:, None, None]
    buffer.action_log_probs += 0.1 * (steps[:, None, None] - 1.0)


def _train(learner: Any, *arguments: Any) -> Dict[str, Any]:
    try:
        return learner.train(*arguments)
    except Exception as error:
        raise NotJudgedError(f"{type(learner).__name__}.train cannot be called as HARL's: {error}") from None


def _require_same_losses(learner: Any, once: Dict[str, Any], twice: Dict[str, Any]) -> None:
    for name in LOSSES_THAT_ARE_MEANS:
        if name not in once or name not in twice:
            continue
        small, large = float(once[name]), float(twice[name])
        if np.isclose(small, large, rtol=TOLERANCE, atol=1e-4):
            continue
        cause = "it depends on the number of samples"
        if np.isclose(2 * small, large, rtol=0.02, atol=1e-4):
            cause = "it is summed over the batch instead of averaged: its weight grows with n_rollout_threads"
        raise ContractError(
            f"{name} depends on the batch size",
            where=place_of(getattr(type(learner), "update", type(learner))),
            got=f"{small:.5g}, and {large:.5g} if every env occurs twice",
            expected="the same number",
            cause=cause,
            fix="mean() instead of sum()",
        )


# -- checkpoints ------------------------------------------------------------------------------------------------------


@judges("checkpoint")
def checkpoint(trial: Trial) -> None:
    """What the runner saves restores every network and the statistics of the values."""
    trial.require_rollouts()
    runner = trial.runner
    for method in ("save", "restore"):
        if not callable(getattr(runner, method, None)):
            raise NotJudgedError(f"the runner has no method {method}")
    if getattr(runner, "save_dir", None) is None:
        raise NotJudgedError("the runner has no save_dir")
    _call(trial, "save")
    saved = _state(runner)
    _change(runner)
    runner.algo_args["train"]["model_dir"] = str(runner.save_dir)
    _call(trial, "restore")
    restored = _state(runner)
    lost = []
    for name in saved:
        if not np.allclose(saved[name], restored[name], atol=1e-6):
            lost.append(name)
    if lost:
        raise ContractError(
            f"the checkpoint does not restore {lost[0]}",
            where=trial.place_of_method("save", "restore"),
            got=f"{len(lost)} of {len(saved)} arrays differ after a restore",
            expected="all of them, as they were saved",
            cause="save or restore leaves it out, or files of agents are exchanged",
        )
    trial.notes.append("HARL's files hold networks and value statistics; optimisers and steps start anew")


def _call(trial: Trial, method: str) -> None:
    try:
        with contextlib.redirect_stdout(None):
            getattr(trial.runner, method)()
    except FileNotFoundError as error:
        if trial.files.innermost(error) is None:
            raise
        raise NotJudgedError(f"{method} of yours looks for {error.filename}") from None
    except Exception as error:
        raise ContractError(
            f"{method} raises {type(error).__name__}: {first_line(error)}",
            where=trial.files.innermost(error) or innermost_place(error),
            cause="a file has another name, another device or another size than the runner expects",
        ) from None


def _networks(runner: Any) -> List[Tuple[str, Any]]:
    networks = []
    for agent, actor in enumerate(getattr(runner, "actor", ())):
        networks.append((f"actor {agent}", actor.actor))
    if getattr(runner, "critic", None) is not None:
        networks.append(("the critic", runner.critic.critic))
    return networks


def _state(runner: Any) -> Dict[str, np.ndarray]:
    state = {}
    for owner, network in _networks(runner):
        for name, tensor in network.state_dict().items():
            state[f"{owner} ({name})"] = tensor.detach().cpu().numpy().copy()
    for name, tensor in _statistics(runner):
        state[f"the value normaliser ({name})"] = tensor.detach().cpu().numpy().copy()
    return state


def _statistics(runner: Any) -> List[Tuple[str, Any]]:
    """Return the tensors of the value normaliser: those on a GPU are no parameters."""
    normalizer: Optional[Any] = getattr(runner, "value_normalizer", None)
    found = []
    for name in ("running_mean", "running_mean_sq", "debiasing_term"):
        tensor = getattr(normalizer, name, None)
        if hasattr(tensor, "detach"):
            found.append((name, tensor))
    return found


def _change(runner: Any) -> None:
    """Change everything that a restore must bring back."""
    for _, network in _networks(runner):
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.25)
    for _, tensor in _statistics(runner):
        tensor.data.add_(0.25)
