"""Contracts of the rollout buffer: what is stored is what happened, and stays so.

`run` is a `mapush.train.Run` before its first step, or anything with its `env`, `agent`, `rollout` and `advance`; it is
used up.
"""

from __future__ import annotations

from typing import Any, Dict, List

import torch

from harness.findings import ContractError
from harness.stack.compare import close, differing_row, explain, first_difference, log_prob
from harness.stack.remembered import arrays_of
from harness.stack.small_parts import WatchedEnv, fill, random_ends


def stored_actions(run: Any) -> None:
    """The action in the buffer is the one that the env got, also where the env edits its argument in place."""
    window = run.env = WatchedEnv(run.env)
    fill(run)
    for step, acted in enumerate(window.acted):
        stored = run.rollout.actions[step]
        if torch.equal(stored, acted):
            continue
        explanations = {
            "the env edits the actions it is given in place, and the edited ones are stored": window.left[step],
            "the buffer holds clipped actions": acted.clamp(-1.0, 1.0),
            **_permutations("actions", acted, window.acted, step),
        }
        raise ContractError(
            explain(stored, explanations, "the stored actions are not those that were acted"),
            where=f"rollout.actions, step {step}",
            got=differing_row(stored, acted),
            expected=differing_row(acted, stored),
            cause="log-probabilities belong to the action that was drawn; with another one every ratio is wrong",
            fix="hand the env a copy, or let it work on one; store what was handed over",
        )


def log_probs(run: Any) -> None:
    """Before any update, log-probabilities recomputed from stored observations and actions are the stored ones."""
    window = run.env = WatchedEnv(run.env)
    fill(run)
    _require_observations(run.rollout, window)
    rollout, actors = run.rollout, run.agent.actors
    for agent, actor in enumerate(actors):
        stored = rollout.log_probs[:, :, agent].detach()
        acted = rollout.actions[:, :, agent]
        recomputed = log_prob(actor, rollout.obs[:-1, :, agent], acted)
        density = _normal_density(actor, rollout.obs[:-1, :, agent], acted)
        if close(stored, recomputed) and close(stored, density):
            continue
        other = (agent + 1) % len(actors)
        explanations = {
            f"agent {agent} acts with the policy of agent {other}": log_prob(
                actors[other], rollout.obs[:-1, :, agent], acted
            ),
            f"log-probabilities of agents {agent} and {other} are swapped": log_prob(
                actors[other], rollout.obs[:-1, :, other], rollout.actions[:, :, other]
            ),
            "log-probabilities leave out the width of the distribution": density + actor.std.detach().log(),
            "one log-probability, of all numbers of the action, is stored for each": density.sum(-1, True)
            + 0 * density,
            "the policy's log-probability is not that of its normal distribution": recomputed,
        }
        where = first_difference(stored, recomputed if close(stored, density) else density)
        raise ContractError(
            explain(stored, explanations, "stored log-probabilities are not those of the stored actions"),
            where="agent {}, step {}, env {}, action_dim {}".format(agent, *where),
            got=f"{float(stored[where]):.6g}",
            expected=f"{float(density[where]):.6g} by the density, {recomputed[where]:.6g} by the policy",
            cause="observation, action or log-probability belongs to another step, agent or policy",
        )
    _require_fresh_noise(rollout, actors)


def buffer_aliasing(run: Any) -> None:
    """Nothing that is changed after it was inserted changes the buffer, and no step changes an earlier one."""
    window = run.env = WatchedEnv(run.env)
    decisions: List[Any] = []
    act = run.agent.act

    def noting(*args: Any) -> Any:
        decisions.append(act(*args))
        return decisions[-1]

    run.agent.act = noting
    for step in range(run.rollout.num_steps):
        before = _copies(run.rollout)
        run.advance()
        _require_rows(before, run.rollout, step)
        given = {"decision": decisions[-1], "transition": window.results[-1]}
        _require_independent(arrays_of(given), run.rollout, step, "handed to the buffer")
        if hasattr(run.rollout, "state_dict"):
            _require_independent(arrays_of(run.rollout.state_dict()), run.rollout, step, "returned by state_dict")


def masks(run: Any) -> None:
    """Ends of episodes are stored at the step they follow, time limits apart from failures, and are carried over."""
    rollout = run.rollout
    steps, envs = len(rollout.actions), rollout.actions.shape[1]
    terminated, truncated = random_ends(steps, envs, seed=1)
    run.env = WatchedEnv(run.env, terminated, truncated)
    fill(run)
    done, limit = terminated | truncated, truncated & ~terminated
    early = torch.cat((done[1:], torch.zeros_like(done[:1])))
    _require_mask(
        "masks",
        rollout.masks[1:, :, 0],
        ~done,
        {
            "a time limit does not begin a new episode in the buffer": ~terminated,
            "a failure does not begin a new episode in the buffer": ~truncated,
            "ends of episodes are stored one step early": ~early,
            "ends of episodes are stored one step late": ~torch.cat((torch.zeros_like(done[:1]), done[:-1])),
            "ends of episodes are not stored": torch.ones_like(done),
            "masks are upside down: 1 where an episode ended": done,
            "an end in env 0 is stored as one in all envs": ~done[:, :1].expand_as(done),
        },
    )
    _require_mask(
        "bad_masks",
        rollout.bad_masks[1:, :, 0],
        ~limit,
        {
            "a time limit is stored as a failure": torch.ones_like(done),
            "a failure is stored as a time limit": ~done,
            "a failure in the step of the time limit is stored as a time limit": ~truncated,
            "bad_masks are upside down: 1 at a time limit": limit,
        },
    )
    _require_mask("active_masks", rollout.active_masks[1:, :, 0, 0], torch.ones_like(done), {})
    last = {name: getattr(rollout, name)[-1].clone() for name in ("obs", "share_obs", "masks", "bad_masks")}
    rollout.finish()
    for name, row in last.items():
        if not torch.equal(getattr(rollout, name)[0], row):
            raise ContractError(
                "the next rollout does not begin where this one ended",
                where=f"rollout.{name}, row 0 after finish()",
                got=differing_row(getattr(rollout, name)[0], row),
                expected=differing_row(row, getattr(rollout, name)[0]),
            )


def _permutations(name: str, value: torch.Tensor, every: List[torch.Tensor], step: int) -> Dict[str, torch.Tensor]:
    """Return what may have been mistaken for `value` (E, A, K), and how to say so."""
    found = {
        f"{name} of agents 0 and {value.shape[1] - 1} are swapped in the buffer": value.flip(1),
        f"{name} of envs are in another order in the buffer": value.roll(1, 0),
        "the numbers of an action are in another order in the buffer": value.flip(2),
    }
    for shift, word in ((-1, "late"), (1, "early")):
        if 0 <= step + shift < len(every):
            found[f"{name} are stored one step {word}"] = every[step + shift]
    return found


def _require_observations(rollout: Any, window: WatchedEnv) -> None:
    """Require that row t + 1 holds what the env returned at step t."""
    for name in ("obs", "share_obs"):
        given = torch.stack([getattr(result.observation, name) for result in window.results])
        stored = getattr(rollout, name)
        if torch.equal(stored[1:], given):
            continue
        explanations = {
            f"{name} is stored one step early: what a step led to lies where it began": (
                stored[:-2],
                given[:-1],
            ),
            f"{name} is stored one step late": (stored[2:], given[:-1]),
        }
        fits = [text for text, (one, other) in explanations.items() if torch.equal(one, other)]
        step = first_difference(stored[1:], given)[0]
        raise ContractError(
            fits[0] if fits else f"stored {name} are not those that the env returned",
            where=f"rollout.{name}, row {step + 1}",
            got=differing_row(stored[step + 1], given[step]),
            expected=differing_row(given[step], stored[step + 1]),
        )


def _normal_density(actor: Any, obs: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        mean, std = actor.mean(obs.flatten(0, 1)).view_as(actions).double(), actor.std.double()
    return torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(actions.double())


def _require_fresh_noise(rollout: Any, actors: Any) -> None:
    """Require that no two agents, envs or steps draw the same random numbers."""
    noise = torch.stack([_noise(actor, rollout, agent) for agent, actor in enumerate(actors)], dim=2)
    for axis, name in enumerate(("steps", "envs", "agents")):
        first, second = noise.unbind(axis)[:2]
        if bool((first - second).abs().mean() < 0.01):
            raise ContractError(
                f"{name} 0 and 1 draw the same random numbers",
                where="rollout.actions, in units of the policy's standard deviation",
                cause="a generator is seeded anew, or one draw is used twice",
            )


def _noise(actor: Any, rollout: Any, agent: int) -> torch.Tensor:
    obs, actions = rollout.obs[:-1, :, agent], rollout.actions[:, :, agent]
    with torch.no_grad():
        return (actions - actor.mean(obs.flatten(0, 1)).view_as(actions)) / actor.std


def _copies(rollout: Any) -> Dict[str, torch.Tensor]:
    return {name: array.clone() for name, array in arrays_of(rollout).items()}


def _require_rows(before: Dict[str, torch.Tensor], rollout: Any, step: int) -> None:
    """Require that a step has left alone the rows of the steps before it, and the observation it began with."""
    for name, array in arrays_of(rollout).items():
        if array.dim() and len(array) > 1 and array.stride(0) == 0:
            raise ContractError(f"all steps of rollout.{name} are the same memory", where=f"step {step}")
        kept = step + 1 if name in ("obs", "share_obs") else step
        for row in range(kept if name in before else 0):
            if not torch.equal(array[row], before[name][row]):
                raise ContractError(
                    f"the buffer's step {row} changed at step {step}",
                    where=f"rollout.{name}",
                    got=differing_row(array[row], before[name][row]),
                    expected=differing_row(before[name][row], array[row]),
                    cause="an array was stored by reference and written to again, or a step is stored at two places",
                    fix="copy into the buffer: buffer[step].copy_(array)",
                )


def _require_independent(given: Dict[str, torch.Tensor], rollout: Any, step: int, what: str) -> None:
    """Require that the buffer stays as it is whatever becomes of each of the arrays `given`."""
    for path, array in given.items():
        if 0 in array.stride():  # an expanded tensor cannot be written to
            continue
        before, kept = _copies(rollout), array.clone()
        array.copy_(~array if array.dtype == torch.bool else array + 1)
        after = arrays_of(rollout)
        changed = [name for name in before if not torch.equal(before[name], after[name])]
        array.copy_(kept)
        if changed:
            raise ContractError(
                f"the buffer shares memory with what is {what}: {path}",
                where=f"rollout.{changed[0]}, step {step}",
                got=f"it changed when {path} was changed",
                expected="a copy",
                fix="copy into the buffer and out of it: copy_() and clone()",
            )


def _require_mask(name: str, got: torch.Tensor, expected: torch.Tensor, explanations: Dict[str, torch.Tensor]) -> None:
    expected = expected.float()
    if torch.equal(got, expected):
        return
    known = {text: tensor.float() for text, tensor in explanations.items()}
    step, env_id = first_difference(got, expected)
    raise ContractError(
        explain(got, known, f"{name} do not say where episodes ended"),
        where=f"rollout.{name}, row {step + 1}, env {env_id}",
        got=f"{float(got[step, env_id]):g}",
        expected=f"{float(expected[step, env_id]):g}",
        cause="row t + 1 says how the step from t to t + 1 ended",
    )
