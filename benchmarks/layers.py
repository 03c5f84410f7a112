"""The layers of training as workloads that repeat the same physics, and check that it was computed.

One rollout is recorded: what the learner decided, and all calls of the physics. Every layer begins in the state in
which that rollout began and does the same again: the physics only its calls, the environment the decisions, the rollout
everything. So a layer costs at least what the one below it costs.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Tuple
from unittest.mock import patch

from mapush.errors import MapushError

if TYPE_CHECKING:
    import torch

    from mapush.sim.physics import Physics, State
    from mapush.train import Run

APPROACH_S = 3.0
"""How long the robots walk towards the object before anything is measured, so that they push it [s]."""
MIN_UPRIGHT = 0.8  # share of the robots
MIN_HEIGHT = 0.15  # of the trunk of an upright robot [m]
MAX_TILT_COSINE = 0.5  # of the trunk of an upright robot
MIN_MOTION = 1e-3  # of a joint on average [rad], and of an object that has moved [m]
MIN_MOVED = 0.02  # share of the objects


@dataclasses.dataclass(frozen=True)
class Recording:
    """A rollout that every layer repeats.

    Attributes:
      start: state of the env before it.
      observed: what the rollout held before it: the observation.
      generator: state of the learner's random numbers before it.
      actions: of each decision.
      calls: arguments of each call of the physics, in order: the name of the method first.
      steps: env steps of each env.
    """

    start: Dict[str, Any]
    observed: Dict[str, Any]
    generator: torch.Tensor
    actions: List[torch.Tensor]
    calls: List[Tuple[Any, ...]]
    steps: int


class Layers:
    """The workloads of a run.

    Args:
      run: a run whose rollout is empty and whose learner keeps its weights; it is changed.
      decisions: decisions in a measurement of physics, env and acting, at most those of a rollout.

    Attributes:
      env_steps: env steps in a measurement of physics, env and acting, summed over the envs.
      env_steps_of_iteration: the same in an iteration of training.
    """

    def __init__(self, run: Run, decisions: int) -> None:
        self.run = run
        self.physics = physics_of(run)
        self._decisions = decisions
        self._counted = 0
        approach(run)
        self._recording = self._record()
        self.env_steps = self._recording.steps * run.config.num_envs
        held = run.env.steps_per_decision
        self.env_steps_of_iteration = run.config.num_steps * held * run.config.num_envs

    def workloads(self) -> Dict[str, Callable[[], float]]:
        """Return each layer's workload, from the physics to an iteration of training."""
        return {
            "physics": self.only_physics,
            "env": self.only_env,
            "rollout": self.acting,
            "train": self.training,
        }

    def only_physics(self) -> float:
        """Repeat the calls of the physics, and return how long that took [s]."""
        return self._measured(self._repeat_calls, self._recording.steps)

    def only_env(self) -> float:
        """Repeat the decisions, and return how long the env took [s]."""
        return self._measured(self._repeat_actions, self._recording.steps)

    def acting(self) -> float:
        """Decide again, and return how long that and the env took [s]."""
        return self._measured(lambda: self._advance(self._decisions), self._recording.steps)

    def training(self) -> float:
        """Fill a complete rollout and learn from it, and return how long that took [s]."""
        config = self.run.config

        def iterate() -> None:
            self._advance(config.num_steps)
            self.run.learn()

        return self._measured(iterate, config.num_steps * self.run.env.steps_per_decision)

    def updating(self) -> float:
        """Learn from a rollout that is filled first, and return how long only the learning took [s]."""
        self._restore()
        self._advance(self.run.config.num_steps)
        begin = clock()
        self.run.learn()
        return clock() - begin

    def _advance(self, decisions: int) -> None:
        for _ in range(decisions):
            self.run.advance()

    def _repeat_calls(self) -> None:
        for name, *arguments in self._recording.calls:
            getattr(self.physics, name)(*arguments)

    def _repeat_actions(self) -> None:
        for actions in self._recording.actions:
            self.run.env.step(actions)

    def _measured(self, work: Callable[[], None], steps: int) -> float:
        """Do the work from the recorded start, and return how long it took [s].

        Raises:
          MapushError: it did not take `steps` env steps, or the robots did not do what robots do.
        """
        self._restore()
        before = self.physics.state()
        with self._counting():
            begin = clock()
            work()
            took = clock() - begin
        if self._counted != steps:
            what = "a workload did not take the env steps that it is measured by"
            raise MapushError(what, got=f"{self._counted} of each env", expected=str(steps))
        require_motion(before, self.physics.state())
        return took

    def _restore(self) -> None:
        run = self.run
        run.env.load_state_dict(copy.deepcopy(self._recording.start))
        run.rollout.load_state_dict(self._recording.observed)
        run.agent.generator.set_state(self._recording.generator.clone())

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        self._counted = 0
        step = self.physics.step

        def count(joint_targets: torch.Tensor) -> State:
            self._counted += 1
            return step(joint_targets)

        with patch.object(self.physics, "step", count):
            yield

    def _record(self) -> Recording:
        run, physics = self.run, self.physics
        start, observed = run.env.state_dict(), run.rollout.state_dict()
        generator = run.agent.generator.get_state().clone()
        actions: List[torch.Tensor] = []
        calls: List[Tuple[Any, ...]] = []
        env_step = run.env.step

        def act(chosen: torch.Tensor) -> Any:
            actions.append(chosen.clone())
            return env_step(chosen)

        def recorded(name: str) -> Callable[..., Any]:
            method = getattr(physics, name)

            def call(*arguments: Any) -> Any:
                calls.append((name,) + _copied(arguments))
                return method(*arguments)

            return call

        with contextlib.ExitStack() as patches:
            patches.enter_context(patch.object(run.env, "step", act))
            for name in ("step", "reset", "push"):
                patches.enter_context(patch.object(physics, name, recorded(name)))
            for _ in range(self._decisions):
                run.advance()
        steps = [call for call in calls if call[0] == "step"]
        return Recording(start, observed, generator, actions, calls, len(steps))


def _copied(arguments: Tuple[Any, ...]) -> Tuple[Any, ...]:
    import torch

    from mapush.device.cuda_graphs import map_tensors

    return map_tensors(torch.clone, arguments)


def clock() -> float:
    """Return the time [s] at which the device has finished its work."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def physics_of(run: Run) -> Physics:
    """Return the physics of a run on one of our simulators."""
    env: Any = run.env
    if hasattr(env, "simulator"):
        return env.simulator.physics
    return env.physics


def approach(run: Run) -> None:
    """Let the robots of a pushing task walk towards the object, so that what is measured has contacts."""
    import torch

    from mapush.sim.geometry import rotate_xy, yaw_of
    from mapush.sim.physics import STEP_DT

    decisions = round(APPROACH_S / STEP_DT / run.env.steps_per_decision)
    physics = physics_of(run)
    for _ in range(decisions):
        state = physics.state()
        actions = torch.zeros(run.env.action_spec.shape, device=run.env.device)
        if state.object_pos_w is not None:
            offset = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
            ahead = rotate_xy(offset, -yaw_of(state.robot_quat_w))
            actions[..., :2] = torch.nn.functional.normalize(ahead, dim=-1)
        result = run.env.step(actions)
    run.rollout.start(result.observation.obs, result.observation.share_obs)


def require_motion(before: State, after: State) -> None:
    """Check that robots moved and mostly stand, and that some objects were moved.

    Args:
      before: the state at the beginning of a workload.
      after: the state at its end.

    Raises:
      MapushError: what was measured is not the physics of robots that push.
    """
    from mapush.sim.geometry import gravity_b

    problems: List[str] = []
    upright = (gravity_b(after.robot_quat_w)[..., 2] < -MAX_TILT_COSINE) & (after.robot_pos_w[..., 2] > MIN_HEIGHT)
    standing = float(upright.float().mean())
    if not standing >= MIN_UPRIGHT:
        problems.append(f"{standing:.0%} of the robots are upright, expected at least {MIN_UPRIGHT:.0%}")
    motion = float((after.joint_pos - before.joint_pos).abs().mean())
    if not motion >= MIN_MOTION:
        problems.append(f"the joints moved by {motion:.1e} rad, expected at least {MIN_MOTION:g} rad")
    if before.object_pos_w is not None and after.object_pos_w is not None:
        distance = (after.object_pos_w - before.object_pos_w).norm(dim=-1)
        moved = float((distance >= MIN_MOTION).float().mean())
        if not moved >= MIN_MOVED:
            problems.append(f"{moved:.0%} of the objects were moved, expected at least {MIN_MOVED:.0%}")
    if problems:
        raise MapushError("a workload did not compute what it is measured for", got="; ".join(problems))
