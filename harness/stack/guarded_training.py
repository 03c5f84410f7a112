"""Training under guard: `python -m harness train ...` takes the command line of `python -m mapush.train`.

The guard watches some decisions of a training, at most a fiftieth of the time:

- Everything that the environment returns has the declared form and is finite.
- The reward is the sum of its terms.
- The environment does not modify the actions.
- What a step returned does not change at the next step.

Training itself stays the same, bit for bit. On a GPU, the time spent waiting for it counts as watching.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from harness.findings import ContractError
from mapush import train
from mapush.assembly import make_env
from mapush.config import RunConfig
from mapush.spec import TensorSpec
from mapush.train import MakeEnv

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import Transition, VecEnv

TIME_SHARE = 0.02
"""Share of the time that watching may take."""
TOLERANCE = 1e-4
"""Largest difference between a reward and the sum of its terms, relative to the largest reward: rounding of float32."""


class GuardedEnv:
    """A `VecEnv` that watches some of its decisions; everything else is passed on to the environment.

    Args:
      env: the environment to watch.
      time_share: share of the time that watching may take.

    Attributes:
      started: when the time began of which watching takes its share [s].
      decisions: number of decisions so far.
      watched: number of decisions that were watched.
      seconds: time that watching took [s].
    """

    def __init__(self, env: VecEnv, time_share: float = TIME_SHARE) -> None:
        self._env = env
        self._time_share = time_share
        self._returned: Dict[str, torch.Tensor] = {}  # by the decision watched last
        self._copies: Dict[str, torch.Tensor] = {}
        self.started = time.perf_counter()
        self.decisions = 0
        self.watched = 0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Take one decision, and watch it if there is time; see `VecEnv.step`.

        Raises:
          ContractError: the environment breaks a contract.
          SpecError: a returned array does not have the declared form.
          NonFiniteError: a returned value is NaN or infinite.
        """
        start = time.perf_counter()
        if self.seconds > self._time_share * (start - self.started):
            result = self._env.step(actions)
            self.decisions += 1
            after = time.perf_counter()
            self._require_unchanged()
            self.seconds += time.perf_counter() - after
            return result
        sent = actions.clone()
        before = time.perf_counter()
        result = self._env.step(actions)
        after = time.perf_counter()
        self.decisions += 1
        self.watched += 1
        self._require_unchanged()
        self._require_actions_unchanged(actions, sent)
        self._require_form(result)
        self._require_sum(result)
        self._keep(result)
        self.seconds += before - start + time.perf_counter() - after
        return result

    def _require_unchanged(self) -> None:
        """Require that what the decision watched last returned is still the same."""
        for name, value in self._returned.items():
            if not value.equal(self._copies[name]):
                changed = int((value != self._copies[name]).sum())
                raise ContractError(
                    f"{name} buffer is reused: the returned {name} changed at the next decision",
                    where=self._where(),
                    got=f"{changed} of {value.numel()} values changed",
                    expected="a new tensor from every step",
                    fix="return a copy: .clone()",
                )
        self._returned, self._copies = {}, {}

    def _require_actions_unchanged(self, actions: torch.Tensor, sent: torch.Tensor) -> None:
        if not actions.equal(sent):
            raise ContractError(
                "step modifies the actions in place",
                where=self._where(),
                got=f"{int((actions != sent).sum())} of {sent.numel()} values changed",
                expected="unchanged actions, because the learner trains on them later",
                fix="clip and scale into a new tensor",
            )

    def _require_form(self, result: Transition) -> None:
        env, where = self._env, self._where()
        for observation in (result.observation, result.final_observation):
            env.obs_spec.validate(observation.obs, where)
            env.share_obs_spec.validate(observation.share_obs, where)
        dims, shape = ("num_envs", "num_agents"), (env.num_envs, env.num_agents)
        TensorSpec("reward", dims, shape).validate(result.reward, where)
        TensorSpec("terminated", dims[:1], shape[:1], "bool").validate(result.terminated, where)
        TensorSpec("truncated", dims[:1], shape[:1], "bool").validate(result.truncated, where)
        both = result.terminated & result.truncated
        if bool(both.any()):
            raise ContractError(
                "an episode was both terminated and truncated",
                where=f"{where}, env {int(both.nonzero()[0])}",
                expected="truncated is false where the task ended the episode",
            )

    def _require_sum(self, result: Transition) -> None:
        """Require that the reward is the sum of the terms, if the environment reports terms."""
        if not result.terms:
            return
        total = sum(value.reshape(len(value), -1) for value in result.terms.values())
        gap = float((result.reward - total).abs().max())
        if gap > TOLERANCE * (1.0 + float(result.reward.abs().max())):
            raise ContractError(
                "the reward is not the sum of its terms",
                where=self._where(),
                got=f"a difference of up to {gap:g}",
                expected=f"at most {TOLERANCE:g} relative",
                cause="a term is logged but not part of the reward, or part of the reward but not logged",
            )

    def _keep(self, result: Transition) -> None:
        """Remember what a watched decision returned, and copies of it."""
        self._returned = {
            "obs": result.observation.obs,
            "share_obs": result.observation.share_obs,
            "reward": result.reward,
            "terminated": result.terminated,
            "truncated": result.truncated,
        }
        self._copies = {name: value.clone() for name, value in self._returned.items()}

    def _where(self) -> str:
        return f"decision {self.decisions} of this process"


class GuardedEnvs:
    """Builds guarded environments: pass it as `make_env` to `mapush.train.train`, `Run.start` or `mapush.replay`.

    Args:
      make_env: builds the environment to guard from a configuration.
      time_share: share of the time that watching may take.

    Attributes:
      built: the guarded environments built so far.
    """

    def __init__(self, make_env: MakeEnv = make_env, time_share: float = TIME_SHARE) -> None:
        self._make_env = make_env
        self._time_share = time_share
        self.built: List[GuardedEnv] = []

    def __call__(self, config: RunConfig) -> Any:
        """Return a guarded environment for a run."""
        guarded = GuardedEnv(self._make_env(config), self._time_share)
        self.built.append(guarded)
        return guarded


def main(argv: Optional[Sequence[str]] = None, *, make_env: MakeEnv = make_env) -> int:
    """Train as `mapush.train.main` does, under guard, and print how much was watched.

    Args:
      argv: the words after the command's name; by default those of this process.
      make_env: builds the environment to guard from a configuration.
    """
    start = time.perf_counter()
    guarded_envs = GuardedEnvs(make_env)
    try:
        return train.main(argv, make_env=guarded_envs)
    finally:
        for guard in guarded_envs.built:
            share = guard.seconds / (time.perf_counter() - start)
            print(f"guard: watched {guard.watched} of {guard.decisions} decisions, {share:.2%} of the time")


if __name__ == "__main__":
    sys.exit(main())
