"""Training under guard: `python -m harness train ...` takes the command line of `python -m mapush.train`.

As many decisions as fit into a fiftieth of the time are watched: is all that the environment returns of the declared
form and finite, is the reward the sum of its terms, are the actions left alone, and does what was returned stay as it
was at the next decision? On a GPU, waiting for it counts. Training is the same to the bit.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Sequence
from unittest import mock

from harness.findings import ContractError
from mapush import train
from mapush.config import RunConfig
from mapush.sim.physics import STEP_DT
from mapush.spec import TensorSpec

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import Transition, VecEnv

TIME_SHARE = 0.02  # of the time, that watching may take
TOLERANCE = 1e-4  # of a reward against the sum of its terms


class GuardedEnv:
    """A `VecEnv` of which some decisions are watched; all else is the environment's own.

    Args:
      env: what to watch.
      time_share: of the time, that watching may take.

    Attributes:
      started: when the time began of which watching takes its share [s].
      decisions: taken so far.
      watched: how many of them were watched.
      seconds: what watching took [s].
    """

    def __init__(self, env: VecEnv, time_share: float = TIME_SHARE) -> None:
        self._env = env
        self._time_share = time_share
        self._returned: Dict[str, torch.Tensor] = {}  # by the decision watched last
        self._copies: Dict[str, torch.Tensor] = {}
        self.started = time.perf_counter()
        self.decisions = self.watched = 0
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Act, and watch what comes of it if there is time for it; see `VecEnv.step`.

        Raises:
          ContractError: what the environment did breaks a contract.
          SpecError: what it returned has another form than it declares.
          NonFiniteError: what it returned is NaN or infinite.
        """
        start = time.perf_counter()
        watched = self.seconds <= self._time_share * (start - self.started)
        sent = actions.clone() if watched else actions
        terms: List[Dict[str, torch.Tensor]] = []
        before = time.perf_counter()
        result = self._step_recording(actions, terms) if watched else self._env.step(actions)
        after = time.perf_counter()
        self.decisions += 1
        self._require_unchanged()
        if watched:
            self.watched += 1
            self._require_untouched(actions, sent)
            self._require_form(result)
            self._require_sum(result.reward, terms)
            self._keep(result)
        self.seconds += time.perf_counter() - after + before - start
        return result

    def _step_recording(self, actions: torch.Tensor, terms: List[Dict[str, torch.Tensor]]) -> Transition:
        add_step = self._env.metrics.add_step

        def record(values: Dict[str, torch.Tensor]) -> None:
            terms.append(values)
            add_step(values)

        with mock.patch.object(self._env.metrics, "add_step", record):
            return self._env.step(actions)

    def _require_unchanged(self) -> None:
        for name, value in self._returned.items():
            if not value.equal(self._copies[name]):
                raise ContractError(
                    f"{name} buffer is reused: what was returned changed at the next decision",
                    where=self._where(),
                    got=f"{int((value != self._copies[name]).sum())} of {value.numel()} values changed",
                    expected="a new tensor from every step",
                    fix="return a copy: .clone()",
                )
        self._returned, self._copies = {}, {}

    def _require_untouched(self, actions: torch.Tensor, sent: torch.Tensor) -> None:
        if not actions.equal(sent):
            raise ContractError(
                "step modifies the actions in place",
                where=self._where(),
                got=f"{int((actions != sent).sum())} of {sent.numel()} values changed",
                expected="the actions of the learner's buffer, which trains on them later",
                fix="clip and scale into a new tensor",
            )

    def _require_form(self, result: Transition) -> None:
        env, where = self._env, self._where()
        for observation in (result.observation, result.final_observation):
            env.obs_spec.validate(observation.obs, where)
            env.share_obs_spec.validate(observation.share_obs, where)
        dims, shape = ("num_envs", "num_agents"), (env.num_envs, env.num_agents)
        TensorSpec("reward", dims, shape).validate(result.reward, where)
        for name in ("terminated", "truncated"):
            TensorSpec(name, dims[:1], shape[:1], "bool").validate(getattr(result, name), where)
        both = result.terminated & result.truncated
        if bool(both.any()):
            raise ContractError(
                "an episode was both terminated and truncated",
                where=f"{where}, env {int(both.nonzero()[0])}",
                expected="a time limit does not count where the task ended the episode",
            )

    def _require_sum(self, reward: torch.Tensor, terms: List[Dict[str, torch.Tensor]]) -> None:
        total = sum(value.reshape(value.shape[0], -1) for values in terms for value in values.values())
        gaps = [(reward - scale * total).abs().max() for scale in (1.0, STEP_DT)]  # terms, or their rates [1/s]
        if terms and min(gaps) > TOLERANCE * (1.0 + reward.abs().max()):
            raise ContractError(
                "the reward is not the sum of its terms",
                where=self._where(),
                got=f"a gap of up to {float(min(gaps)):g}",
                expected=f"at most {TOLERANCE:g} relative",
                cause="a term is logged but not learned from, or learned from but not logged",
            )

    def _keep(self, result: Transition) -> None:
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


@contextlib.contextmanager
def guarded(time_share: float = TIME_SHARE) -> Iterator[List[GuardedEnv]]:
    """Let every run that `mapush.train` starts in this context be guarded; the list fills with its guards.

    Args:
      time_share: of the time, that watching may take.
    """
    guards: List[GuardedEnv] = []
    make_env = train.make_env

    def make_guarded_env(config: RunConfig) -> GuardedEnv:
        guards.append(GuardedEnv(make_env(config), time_share))
        return guards[-1]

    with mock.patch.object(train, "make_env", make_guarded_env):
        yield guards


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Train as `mapush.train.main` does, under guard, and say what was watched."""
    start = time.perf_counter()
    with guarded() as guards:
        try:
            return train.main(argv)
        finally:
            for guard in guards:
                share = guard.seconds / (time.perf_counter() - start)
                text = "guard: watched {} of {} decisions, {:.2%} of the time"
                print(text.format(guard.watched, guard.decisions, share))


if __name__ == "__main__":
    sys.exit(main())
