"""Contracts of the rollout buffer: what is stored is what happened, and it does not change afterwards.

Each contract takes a `StackUnderTest`, fills the buffer of a new run, and compares it with what a `WatchedEnv` recorded
or with an independent computation. Copies must be equal bit for bit; what is recomputed must be equal within
`compare.TOLERANCE`.
"""

from __future__ import annotations

from typing import Any, Dict, List

import torch

from harness.findings import ContractError
from harness.stack.compare import close, differing_row, explain, first_difference, log_prob
from harness.stack.remembered import arrays_of
from harness.stack.stack_under_test import StackUnderTest
from harness.stack.watched_env import WatchedEnv, fill, watch

SAME_NOISE = 0.01
"""Mean difference of two draws from a unit normal, below which they are the same draw; independent draws have 1.13."""

_STARTS_WITH = ("obs", "share_obs")
"""Arrays of the buffer whose row t holds the start of step t; the rows of all others hold its end."""


def stored_actions(stack: StackUnderTest) -> None:
    """The stored action is the action that the environment received, even if the environment edits its argument.

    Compares each step of `rollout.actions` with a copy made before the environment got the actions, bit for bit.
    """
    with stack.run() as run:
        env = watch(run)
        fill(run)
        for step, acted in enumerate(env.acted):
            stored = run.rollout.actions[step]
            if torch.equal(stored, acted):
                continue
            explanations = {
                "the env edits the actions it is given in place, and the edited ones are stored": env.left[step],
                "the buffer holds clipped actions": acted.clamp(-1.0, 1.0),
            }
            explanations.update(_mix_ups(env.acted, step))
            raise ContractError(
                explain(stored, explanations, "the stored actions are not those that the env received"),
                where=f"rollout.actions, step {step}",
                got=differing_row(stored, acted),
                expected=differing_row(acted, stored),
                cause="the log-probability belongs to the action that was drawn; for any other every ratio is wrong",
                fix="pass a copy to the env, and store the tensor that was passed",
            )


def _mix_ups(acted: List[torch.Tensor], step: int) -> Dict[str, torch.Tensor]:
    """Return what the actions of a step may have been mistaken for, by the text that describes the mistake.

    Args:
      acted: the actions (E, A, K) of every step.
      step: the step.
    """
    value = acted[step]
    last_agent = value.shape[1] - 1
    found = {
        f"actions of agents 0 and {last_agent} are swapped in the buffer": value.flip(1),
        "actions of envs are in a different order in the buffer": value.roll(1, 0),
        "the numbers of an action are in a different order in the buffer": value.flip(2),
    }
    if step > 0:
        found["actions are stored one step late"] = acted[step - 1]
    if step + 1 < len(acted):
        found["actions are stored one step early"] = acted[step + 1]
    return found


def log_probs(stack: StackUnderTest) -> None:
    """Before any update, log-probabilities recomputed from the stored observations and actions equal the stored ones.

    They are recomputed twice: by the policy, and by the density of a normal distribution in float64. The stored
    observations must be those that the environment returned, bit for bit, and the noise must differ between steps, envs
    and agents.
    """
    with stack.run() as run:
        env = watch(run)
        fill(run)
        _require_stored_observations(run.rollout, env)
        for agent in range(len(run.agent.actors)):
            _require_log_probs(run.rollout, run.agent.actors, agent)
        _require_independent_noise(run.rollout, run.agent.actors)


def _require_stored_observations(rollout: Any, env: WatchedEnv) -> None:
    """Require that row t + 1 holds what the env returned at step t."""
    for name in _STARTS_WITH:
        returned = torch.stack([getattr(result.observation, name) for result in env.results])
        stored = getattr(rollout, name)
        if torch.equal(stored[1:], returned):
            continue
        what = f"stored {name} are not those that the env returned"
        if torch.equal(stored[:-2], returned[:-1]):
            what = f"{name} is stored one step early: the result of a step lies where the step began"
        elif torch.equal(stored[2:], returned[:-1]):
            what = f"{name} is stored one step late"
        step = first_difference(stored[1:], returned)[0]
        raise ContractError(
            what,
            where=f"rollout.{name}, row {step + 1}",
            got=differing_row(stored[step + 1], returned[step]),
            expected=differing_row(returned[step], stored[step + 1]),
        )


def _require_log_probs(rollout: Any, actors: Any, agent: int) -> None:
    """Require that the stored log-probabilities (T, E, K) of an agent are those of its policy and of the density."""
    obs, actions, actor = rollout.obs[:-1, :, agent], rollout.actions[:, :, agent], actors[agent]
    stored = rollout.log_probs[:, :, agent].detach()
    by_policy = log_prob(actor, obs, actions)
    by_density = _normal_density(actor, obs, actions)
    if close(stored, by_policy) and close(stored, by_density):
        return
    other = (agent + 1) % len(actors)
    of_other = log_prob(actors[other], rollout.obs[:-1, :, other], rollout.actions[:, :, other])
    without_width = by_density + actor.std.detach().log()
    summed = by_density.sum(-1, keepdim=True).expand_as(by_density)
    explanations = {
        f"agent {agent} acts with the policy of agent {other}": log_prob(actors[other], obs, actions),
        f"log-probabilities of agents {agent} and {other} are swapped": of_other,
        "log-probabilities leave out the width of the distribution": without_width,
        "the sum of the log-probabilities of an action is stored for each of its numbers": summed,
        "the policy's log-probability is not that of its normal distribution": by_policy,
    }
    expected = by_density
    if close(stored, by_density):
        expected = by_policy
    index = first_difference(stored, expected)
    step, env_id, entry = index
    raise ContractError(
        explain(stored, explanations, "stored log-probabilities are not those of the stored actions"),
        where=f"agent {agent}, step {step}, env {env_id}, action_dim {entry}",
        got=f"{float(stored[index]):.6g}",
        expected=f"{float(by_density[index]):.6g} by the density, {float(by_policy[index]):.6g} by the policy",
        cause="observation, action or log-probability belongs to a different step, agent or policy",
    )


def _normal_density(actor: Any, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Return the log-density (T, E, K) of actions under a policy's normal distribution, in float64."""
    with torch.no_grad():
        mean = actor.mean(obs.flatten(0, 1)).view_as(actions).double()
        std = actor.std.double().expand_as(mean)
    return torch.distributions.Normal(mean, std).log_prob(actions.double())


def _require_independent_noise(rollout: Any, actors: Any) -> None:
    """Require that no two agents, envs or steps draw the same random numbers."""
    noises = []
    for agent, actor in enumerate(actors):
        obs, actions = rollout.obs[:-1, :, agent], rollout.actions[:, :, agent]
        with torch.no_grad():
            noises.append((actions - actor.mean(obs.flatten(0, 1)).view_as(actions)) / actor.std)
    noise = torch.stack(noises, dim=2)
    for axis, name in enumerate(("steps", "envs", "agents")):
        first, second = noise.unbind(axis)[:2]
        if float((first - second).abs().mean()) < SAME_NOISE:
            raise ContractError(
                f"{name} 0 and 1 draw the same random numbers",
                where="rollout.actions, in units of the policy's standard deviation",
                cause="a generator is seeded again, or one draw is used twice",
            )


def buffer_aliasing(stack: StackUnderTest) -> None:
    """Changing a tensor after it was inserted does not change the buffer, and no step changes an earlier step.

    After each step, every tensor that went into the buffer or came out of it is changed; the buffer must stay the same,
    bit for bit. The rows of earlier steps are compared with copies made before the step.
    """
    with stack.run() as run:
        env = watch(run)
        decisions = _record_decisions(run.agent)
        for step in range(run.rollout.num_steps):
            before = _copies(run.rollout)
            run.advance()
            _require_earlier_rows(before, run.rollout, step)
            inserted = {"decision": decisions[-1], "transition": env.results[-1]}
            _require_own_memory(run.rollout, arrays_of(inserted), step, "handed to the buffer")
            if hasattr(run.rollout, "state_dict"):
                returned = arrays_of(run.rollout.state_dict())
                _require_own_memory(run.rollout, returned, step, "returned by state_dict")


def _record_decisions(agent: Any) -> List[Any]:
    """Return a list to which every decision of the learner will be added."""
    decisions: List[Any] = []
    act = agent.act

    def act_and_record(*args: Any) -> Any:
        decision = act(*args)
        decisions.append(decision)
        return decision

    agent.act = act_and_record
    return decisions


def _copies(rollout: Any) -> Dict[str, torch.Tensor]:
    return {name: array.clone() for name, array in arrays_of(rollout).items()}


def _require_earlier_rows(before: Dict[str, torch.Tensor], rollout: Any, step: int) -> None:
    """Require that a step did not change the rows of earlier steps, nor the observation that it began with."""
    for name, array in arrays_of(rollout).items():
        if array.dim() and len(array) > 1 and array.stride(0) == 0:
            raise ContractError(f"all steps of rollout.{name} are the same memory", where=f"step {step}")
        if name not in before:
            continue
        kept = step
        if name in _STARTS_WITH:
            kept = step + 1
        for row in range(kept):
            if not torch.equal(array[row], before[name][row]):
                raise ContractError(
                    f"the buffer's step {row} changed at step {step}",
                    where=f"rollout.{name}",
                    got=differing_row(array[row], before[name][row]),
                    expected=differing_row(before[name][row], array[row]),
                    cause="an array is stored by reference and written to again, or a step is stored in two places",
                    fix="copy into the buffer: buffer[step].copy_(array)",
                )


def _require_own_memory(rollout: Any, given: Dict[str, torch.Tensor], step: int, origin: str) -> None:
    """Require that changing any of the given arrays does not change the buffer.

    Args:
      rollout: the buffer.
      given: the arrays by path; each is changed and restored.
      step: the current step.
      origin: where the arrays come from, in words.
    """
    for path, array in given.items():
        if 0 in array.stride():  # an expanded tensor cannot be written to
            continue
        before, kept = _copies(rollout), array.clone()
        if array.dtype == torch.bool:
            array.copy_(~array)
        else:
            array.copy_(array + 1)
        after = arrays_of(rollout)
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        array.copy_(kept)
        if changed:
            raise ContractError(
                f"the buffer shares memory with what is {origin}: {path}",
                where=f"rollout.{changed[0]}, step {step}",
                got=f"it changed when {path} was changed",
                expected="a copy",
                fix="copy into the buffer and out of it: copy_() and clone()",
            )


def masks(stack: StackUnderTest) -> None:
    """Ends of episodes are stored at their own step, time limits apart from failures, and reach the next rollout.

    Compares `masks`, `bad_masks` and `active_masks` with HARL's definitions, applied to random ends that the
    environment reports. Row t + 1 describes how the step from t to t + 1 ended: `masks` is 0 where an episode ended,
    `bad_masks` is 0 where only a time limit ended it. After `finish`, row 0 must equal the last row bit for bit.
    """
    with stack.run() as run:
        env = watch(run, ends_seed=1)
        fill(run)
        rollout = run.rollout
        terminated = torch.stack([result.terminated for result in env.results])
        truncated = torch.stack([result.truncated for result in env.results])
        _require_episode_masks(rollout.masks[1:, :, 0], terminated, truncated)
        _require_limit_masks(rollout.bad_masks[1:, :, 0], terminated, truncated)
        active = rollout.active_masks[1:, :, 0, 0]
        _require_mask("active_masks", active, torch.ones_like(active), {})
        last_rows = {}
        for name in (*_STARTS_WITH, "masks", "bad_masks"):
            last_rows[name] = getattr(rollout, name)[-1].clone()
        rollout.finish()
        for name, last_row in last_rows.items():
            first_row = getattr(rollout, name)[0]
            if not torch.equal(first_row, last_row):
                raise ContractError(
                    "the next rollout does not begin where this one ended",
                    where=f"rollout.{name}, row 0 after finish()",
                    got=differing_row(first_row, last_row),
                    expected=differing_row(last_row, first_row),
                )


def _require_episode_masks(got: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor) -> None:
    done = terminated | truncated
    first_env_only = done[:, :1].expand_as(done)
    explanations = {
        "a time limit does not begin a new episode in the buffer": ~terminated,
        "a failure does not begin a new episode in the buffer": ~truncated,
        "ends of episodes are stored one step early": ~torch.cat((done[1:], torch.zeros_like(done[:1]))),
        "ends of episodes are stored one step late": ~torch.cat((torch.zeros_like(done[:1]), done[:-1])),
        "ends of episodes are not stored": torch.ones_like(done),
        "masks are upside down: 1 where an episode ended": done,
        "an end in env 0 is stored as an end in all envs": ~first_env_only,
    }
    _require_mask("masks", got, ~done, explanations)


def _require_limit_masks(got: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor) -> None:
    limit_only = truncated & ~terminated
    explanations = {
        "a time limit is stored as a failure": torch.ones_like(limit_only),
        "a failure is stored as a time limit": ~(terminated | truncated),
        "a failure in the step of the time limit is stored as a time limit": ~truncated,
        "bad_masks are upside down: 1 at a time limit": limit_only,
    }
    _require_mask("bad_masks", got, ~limit_only, explanations)


def _require_mask(name: str, got: torch.Tensor, expected: torch.Tensor, explanations: Dict[str, torch.Tensor]) -> None:
    """Require that a stored mask (T, E) is the expected mask, exactly."""
    expected = expected.float()
    if torch.equal(got, expected):
        return
    known = {text: mask.float() for text, mask in explanations.items()}
    step, env_id = first_difference(got, expected)
    raise ContractError(
        explain(got, known, f"{name} do not say where episodes ended"),
        where=f"rollout.{name}, row {step + 1}, env {env_id}",
        got=f"{float(got[step, env_id]):g}",
        expected=f"{float(expected[step, env_id]):g}",
        cause="row t + 1 describes how the step from t to t + 1 ended",
    )
