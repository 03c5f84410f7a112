"""Bugs of the learner: of what it stores, how it acts, and what it computes."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, Dict, Iterator, List

from harness.faults.plant import changed, planted, replaced, replaces

ROLLOUT_INSERT = "mapush.happo.rollout:Rollout.insert"
HAPPO_ACT = "mapush.happo.happo:Happo.act"
SAMPLE = "mapush.happo.networks:Actor.sample"
RATIO = "mapush.happo.update:probability_ratio"

# -- stored actions ----------------------------------------------------------------------------------------------------


@replaces(
    ROLLOUT_INSERT,
    "learner",
    "stored-actions",
    "HARL contract S12",
    says="the buffer holds clipped actions",
)
def stored_actions_clipped(original: Any, rollout: Any, decision: Any, *rest: Any) -> None:
    """The buffer stores clipped actions next to the log-probabilities of the drawn ones."""
    clipped = decision.action.clamp(-1.0, 1.0)
    original(rollout, dataclasses.replace(decision, action=clipped), *rest)


@replaces(ROLLOUT_INSERT, "learner", "stored-actions", says="actions of agents 0 and 1 are swapped")
def stored_actions_swapped(original: Any, rollout: Any, decision: Any, *rest: Any) -> None:
    """The buffer stores the actions in the wrong order of agents."""
    swapped = decision.action.flip(1)
    original(rollout, dataclasses.replace(decision, action=swapped), *rest)


@replaces(ROLLOUT_INSERT, "learner", "stored-actions", says="actions are stored one step late")
def stored_actions_late(original: Any, rollout: Any, decision: Any, *rest: Any) -> None:
    """The buffer stores each action with the step after its own."""
    original(rollout, decision, *rest)
    step = rollout.step - 1
    if step + 1 < rollout.num_steps:
        rollout.actions[step + 1] = decision.action
    rollout.actions[step] = getattr(rollout, "previous", decision.action)
    rollout.previous = decision.action.clone()


class _EnvOfStoredActions:
    """An env that gets the tensor which the buffer stores, not a copy, and edits it."""

    def __init__(self, env: Any, decisions: List[Any]) -> None:
        self._env = env
        self._decisions = decisions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: Any) -> Any:
        """Step the env."""
        from mapush.env.push import PushEnv

        with replaced(PushEnv, "_commands", _halve_in_place):
            return self._env.step(self._decisions[-1].action)


def _halve_in_place(original: Any, env: Any, actions: Any) -> Any:
    commands = original(env, actions)
    actions.mul_(0.5)
    return commands


@replaces(
    "mapush.train:Run.advance",
    "learner",
    "stored-actions",
    says="the env edits the actions it is given in place",
)
def stored_actions_edited_by_env(original: Any, run: Any) -> None:
    """The env edits its actions in place, and they are the tensor that the buffer stores."""
    decisions: List[Any] = []
    act = run.agent.act

    def act_and_keep(*args: Any) -> Any:
        decisions.append(act(*args))
        return decisions[-1]

    with changed(run.agent, "act", act_and_keep), changed(run, "env", _EnvOfStoredActions(run.env, decisions)):
        original(run)


# -- log-probabilities -------------------------------------------------------------------------------------------------


@replaces(SAMPLE, "learner", "log-probs")
def log_probs_without_std(original: Any, actor: Any, *args: Any) -> Any:
    """The stored log-probabilities leave out the width of the distribution."""
    action, log_prob = original(actor, *args)
    return action, log_prob + actor.std.detach().log()


@replaces(
    "mapush.happo.networks:Actor._log_prob",
    "learner",
    "log-probs",
    says="the policy's log-probability is not that of its normal",
)
def log_probs_shifted(original: Any, actor: Any, mean: Any, action: Any) -> Any:
    """The policy computes its log-probabilities with a wrong constant, everywhere alike."""
    return original(actor, mean, action) + 0.5


@replaces(HAPPO_ACT, "learner", "log-probs", says="log-probabilities of agents 0 and 1 are swapped")
def log_probs_of_other_agent(original: Any, agent: Any, *args: Any) -> Any:
    """The log-probabilities of a decision are stored in the wrong order of agents."""
    decision = original(agent, *args)
    return dataclasses.replace(decision, log_prob=decision.log_prob.flip(1))


@replaces(HAPPO_ACT, "learner", "log-probs", says="agent 1 acts with the policy of agent 0")
def all_act_with_first_policy(original: Any, agent: Any, obs: Any, share_obs: Any) -> Any:
    """All agents act with the policy of the first one, although each has its own."""
    with changed(agent, "actors", [agent.actors[0]] * len(agent.actors)):
        return original(agent, obs, share_obs)


@replaces(SAMPLE, "learner", "log-probs", says="steps 0 and 1 draw the same random numbers")
def same_noise_every_step(original: Any, actor: Any, obs: Any, generator: Any, *rest: Any) -> Any:
    """The generator of the actions is set back after each use."""
    state = generator.get_state()
    try:
        return original(actor, obs, generator, *rest)
    finally:
        generator.set_state(state)


@replaces(ROLLOUT_INSERT, "learner", "log-probs", says="obs is stored one step early")
def stored_obs_early(
    original: Any,
    rollout: Any,
    decision: Any,
    reward: Any,
    terminated: Any,
    truncated: Any,
    obs: Any,
    share_obs: Any,
    active: Any = None,
) -> None:
    """The buffer stores each observation with the step before its own."""
    rollout.obs[rollout.step].copy_(obs)
    original(rollout, decision, reward, terminated, truncated, obs, share_obs, active)


# -- memory of the buffer ----------------------------------------------------------------------------------------------


@replaces(
    ROLLOUT_INSERT, "learner", "buffer-aliasing", "public reports: the buffer keeps a reference to the env's array"
)
def buffer_keeps_references(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
    """All stored observations are the same memory."""
    original(rollout, *args, **kwargs)
    rollout.obs = rollout.obs[rollout.step].expand_as(rollout.obs)


@replaces(ROLLOUT_INSERT, "learner", "buffer-aliasing", says="the buffer shares memory with what is handed to")
def buffer_keeps_last_obs(
    original: Any,
    rollout: Any,
    decision: Any,
    reward: Any,
    terminated: Any,
    truncated: Any,
    obs: Any,
    share_obs: Any,
    active: Any = None,
) -> None:
    """The buffer keeps the tensor of observations that it is given."""
    original(rollout, decision, reward, terminated, truncated, obs, share_obs, active)
    rollout.last_obs = obs


@replaces(
    "mapush.happo.rollout:Rollout.state_dict",
    "learner",
    "buffer-aliasing",
    says="the buffer shares memory with what is returned by",
)
def buffer_saves_views(original: Any, rollout: Any) -> Dict[str, Any]:
    """What the buffer returns to be saved is its own memory."""
    state = original(rollout)
    views = {name: getattr(rollout, name)[: rollout.step] for name in state["filled"]}
    return dict(state, filled=views)


@replaces(ROLLOUT_INSERT, "learner", "buffer-aliasing", says="the buffer's step 0 changed at step 1")
def buffer_overwrites_last_reward(original: Any, rollout: Any, decision: Any, reward: Any, *rest: Any) -> None:
    """The reward of a step is also written over that of the step before."""
    original(rollout, decision, reward, *rest)
    rollout.rewards[max(rollout.step - 2, 0)].copy_(reward)


# -- advantages --------------------------------------------------------------------------------------------------------


@replaces(ROLLOUT_INSERT, "learner", "advantages", says="rewards are stored one step late")
def stored_rewards_late(original: Any, rollout: Any, decision: Any, reward: Any, *rest: Any) -> None:
    """The buffer stores each reward with the step after its own."""
    late = getattr(rollout, "late_reward", reward.clone().zero_())
    original(rollout, decision, late, *rest)
    rollout.late_reward = reward.clone()


@replaces(ROLLOUT_INSERT, "learner", "advantages", says="values are stored one step late")
def stored_values_late(original: Any, rollout: Any, decision: Any, *rest: Any) -> None:
    """The buffer stores the critic's value of each state with the step after its own."""
    late = getattr(rollout, "late_value", decision.value)
    original(rollout, dataclasses.replace(decision, value=late), *rest)
    rollout.late_value = decision.value.clone()


class _EnvOfFirstReward:
    """An env that returns the reward of the first agent only."""

    def __init__(self, env: Any) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: Any) -> Any:
        """Step the env."""
        result = self._env.step(actions)
        return dataclasses.replace(result, reward=result.reward[:, :1])


@replaces("mapush.train:Run.advance", "learner", "advantages", says="only the reward of agent 0 is learned from")
def reward_of_first_agent_only(original: Any, run: Any) -> None:
    """The team learns from the reward of its first agent, not from the mean."""
    with changed(run, "env", _EnvOfFirstReward(run.env)):
        original(run)


@planted("learner", "advantages", says="advantages run on across the end of an episode")
def gae_ignores_episode_ends(_: int = 1) -> Iterator[None]:
    """Advantages bootstrap across the reset into the next episode."""
    with _returns_with(lambda rollout: {"masks": rollout.masks.clone().fill_(1.0)}):
        yield


@planted(
    "learner",
    "advantages",
    "public reports: time limits are bootstrapped from the next episode",
    says="a time limit is treated as a failure",
)
def gae_ignores_time_limits(_: int = 1) -> Iterator[None]:
    """A time limit is handled as a termination although the configuration asks for the proper way."""
    with _returns_with(lambda rollout: {"bad_masks": rollout.bad_masks.clone().fill_(1.0)}):
        yield


@planted("learner", "advantages")
def gae_shifted_by_one_step(_: int = 1) -> Iterator[None]:
    """Rewards are taken one step late."""
    with _returns_with(lambda rollout: {"rewards": rollout.rewards.roll(1, 0)}):
        yield


@planted("learner", "advantages", says="masks are read one step early")
def gae_reads_masks_early(_: int = 1) -> Iterator[None]:
    """Advantages are computed with the mask of the step before."""

    def early(rollout: Any) -> Dict[str, Any]:
        masks = rollout.masks.roll(1, 0)
        masks[0] = rollout.masks[0]
        return {"masks": masks}

    with _returns_with(early):
        yield


@replaces(
    "mapush.happo.update:compute_returns",
    "learner",
    "advantages",
    says="the value of the last state is missing",
)
def gae_without_last_value(original: Any, rollout: Any, values: Any, *rest: Any) -> Any:
    """Advantages do not bootstrap from the state after the rollout."""
    values = values.clone()
    values[-1] = 0.0
    return original(rollout, values, *rest)


@replaces(
    "mapush.happo.value_norm:ValueNorm.denormalize",
    "learner",
    "advantages",
    says="values are used in the units of the critic",
)
def values_not_denormalized(original: Any, norm: Any, values: Any) -> Any:
    """The normalised output of the critic is used as if it were in units of the reward."""
    return values


def _returns_with(changes: Any) -> Any:
    """Return a context in which returns are computed with the tensors of `changes(rollout)` in the rollout."""
    from mapush.happo import update

    def broken(original: Any, rollout: Any, *args: Any) -> Any:
        other = copy.copy(rollout)
        vars(other).update(changes(rollout))
        return original(other, *args)

    return replaced(update, "compute_returns", broken)


# -- masks -------------------------------------------------------------------------------------------------------------


@replaces(ROLLOUT_INSERT, "learner", "masks")
def masks_one_step_early(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
    """The end of an episode is stored with the step before it."""
    step = rollout.step
    original(rollout, *args, **kwargs)
    rollout.masks[step] = rollout.masks[step + 1]
    rollout.masks[step + 1] = 1.0


@replaces(ROLLOUT_INSERT, "learner", "masks")
def masks_of_first_env_for_all(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
    """When the episode of the first env ends, the buffer stores an end for all envs."""
    original(rollout, *args, **kwargs)
    rollout.masks[rollout.step] = rollout.masks[rollout.step, :1]


@replaces(
    "mapush.happo.rollout:Rollout.finish",
    "learner",
    "masks",
    "public reports: last mask is not carried into the next rollout",
)
def masks_lost_between_rollouts(original: Any, rollout: Any) -> None:
    """An episode that ends with the rollout is forgotten in the next one."""
    original(rollout)
    rollout.masks[0] = 1.0
    rollout.bad_masks[0] = 1.0


@replaces(
    "mapush.happo.rollout:Rollout.finish",
    "learner",
    "masks",
    says="the next rollout does not begin where this one ended",
)
def rollouts_not_joined(original: Any, rollout: Any) -> None:
    """The next rollout begins with the first state of this one, not with its last."""
    rollout.step = 0


@replaces(ROLLOUT_INSERT, "learner", "masks", says="a time limit is stored as a failure")
def time_limits_stored_as_failures(original: Any, rollout: Any, *args: Any) -> None:
    """The buffer forgets that an episode ended by its time limit."""
    original(rollout, *args)
    rollout.bad_masks.fill_(1.0)


@replaces(ROLLOUT_INSERT, "learner", "masks", says="a time limit does not begin a new episode")
def time_limits_not_stored(
    original: Any, rollout: Any, decision: Any, reward: Any, terminated: Any, truncated: Any, *rest: Any
) -> None:
    """The buffer does not store the end of an episode by its time limit."""
    original(rollout, decision, reward, terminated, truncated.clone().fill_(False), *rest)


# -- factor of the sequential update -----------------------------------------------------------------------------------


@replaces(RATIO, "learner", "factor", says="ignores that the agents before it have changed")
def factor_of_old_policy(original: Any, log_ratio: Any, aggregation: str) -> Any:
    """The second agent does not allow for the change of the first."""
    ratio = original(log_ratio, aggregation)
    if log_ratio.requires_grad:
        return ratio
    return ratio.clone().fill_(1.0)


@replaces(RATIO, "learner", "factor", says="the factor is upside down")
def factor_inverted(original: Any, log_ratio: Any, aggregation: str) -> Any:
    """The factor is old policy over new, not new over old."""
    if log_ratio.requires_grad:
        return original(log_ratio, aggregation)
    return original(-log_ratio, aggregation)
