"""HARL's own training loop, on an environment, a logger and a writer that it is given.

Source: HARL@d539bad, `harl/runners/on_policy_base_runner.py` and `harl/runners/on_policy_ha_runner.py`.
"""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import torch
from torch import nn

from mapush.device.gpu_errors import explain
from mapush.env.harl_view import HarlView
from mapush.errors import CheckpointError, LearnerError, MapushError, NonFiniteError
from mapush.run.checkpoint import Checkpoint
from mapush.upstream.harl import training_state
from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter, Stopped
from mapush.upstream.harl.harl_source import USE_VERSION, load
from mapush.upstream.harl.update_observer import ObservedActor, changes_of, explained_variance_of

_HARL = load()
_OnPolicyHARunner: Any = _HARL.OnPolicyHARunner
DEFAULTS = _HARL.defaults
_USED_BY_LOOP = ("HarlRunner", "HarlView", "HarlLogger", "ScalarWriter")
"""Our classes whose attributes HARL's loop uses."""


OnSave = Callable[[int, Dict[str, Any], Dict[str, Any], bool], None]


class HarlRunner(_OnPolicyHARunner):
    """HARL's runner of HAPPO in EP mode (one state for all agents). Everything that trains is inherited.

    HARL's constructor is not called: it makes environment, logger and folders from names, in tables that know only
    HARL's own. Networks are made in the same order as there, so the same seed gives the same weights.

    Args:
      algo_args: HARL's settings, by section.
      envs: the training environment; `close` closes it.
      logger: is called in every step.
      writer: is called by forks of HARL that write numbers themselves.
      save_dir: folder for the weights.
      device: where the networks compute.
      make_eval_envs: makes the separate environment of HARL's evaluation; None turns the evaluation off.
      on_save: is called after the weights were saved, with the env steps they were trained for, and the parts `agent`
        and `run` of a checkpoint from which the training can continue, and whether only `save_now` has asked for it.
      save_now: is called after every update; if it returns True, the weights are saved.
    """

    def __init__(
        self,
        algo_args: Dict[str, Dict[str, Any]],
        envs: HarlView,
        logger: HarlLogger,
        writer: ScalarWriter,
        save_dir: Path,
        device: torch.device,
        make_eval_envs: Optional[Callable[[], HarlView]] = None,
        on_save: OnSave = lambda step, agent, run, by_clock: None,
        save_now: Callable[[], bool] = lambda: False,
    ) -> None:
        self.args = {"algo": "happo", "env": "mapush", "exp_name": "mapush"}
        self.algo_args = algo_args
        self.env_args = {"state_type": "EP"}
        self.hidden_sizes = algo_args["model"]["hidden_sizes"]
        self.rnn_hidden_size = self.hidden_sizes[-1]
        self.recurrent_n = algo_args["model"]["recurrent_n"]
        self.action_aggregation = algo_args["algo"]["action_aggregation"]
        self.state_type = self.env_args["state_type"]
        self.share_param = algo_args["algo"]["share_param"]
        self.fixed_order = algo_args["algo"]["fixed_order"]
        self.device = device
        self.logger = logger
        self.writter = writer
        self.run_dir = str(save_dir.parent)
        self.log_dir = str(save_dir.parent)
        self.save_dir = str(save_dir)
        self._on_save = on_save
        self._save_now = save_now
        self._saved_at = -1  # env steps
        self._due = False  # the weights were saved in this iteration, and the moment after it is not known yet
        self._moment: Optional[training_state.BetweenRollouts] = None  # the last one between two rollouts
        self._saved: Optional[Checkpoint] = None  # to continue from
        self._same_episodes = True
        self.envs = envs
        self.num_agents = envs.n_agents
        self.eval_envs: Optional[HarlView] = None
        if make_eval_envs is not None:
            self.eval_envs = make_eval_envs()
        _seed(algo_args["seed"]["seed"])
        self._make_learners()

    def _make_learners(self) -> None:
        """Make actors, critic and buffers; only actors and critic draw random numbers, in HARL's order."""
        settings = self.algo_args
        network_args = dict(settings["model"], **settings["algo"])
        buffer_args = dict(settings["train"], **settings["model"])
        self.actor: List[Any] = []
        self.actor_buffer = []
        for obs_space, action_space in zip(self.envs.observation_space, self.envs.action_space):
            if self.share_param and self.actor:
                self.actor.append(self.actor[0])
            else:
                self.actor.append(ObservedActor(network_args, obs_space, action_space, device=self.device))
            self.actor_buffer.append(_HARL.OnPolicyActorBuffer(buffer_args, obs_space, action_space))
        state_space = self.envs.share_observation_space[0]
        self.critic = _HARL.VCritic(network_args, state_space, device=self.device)
        self.critic_buffer = _HARL.OnPolicyCriticBufferEP(dict(buffer_args, **settings["algo"]), state_space)
        self.value_normalizer = None
        if settings["train"]["use_valuenorm"]:
            self.value_normalizer = with_saved_statistics(_HARL.ValueNorm(1, device=self.device))

    def continue_from(self, saved: Checkpoint, total: int, same_episodes: bool = True) -> None:
        """Begin where a checkpoint ends; call it before `run`.

        Args:
          saved: a checkpoint that `training_state.require_training_state` accepts.
          total: rollouts of the complete run. HARL's loop does those that are left, as `algo_args` must say.
          same_episodes: whether the environment continues its episodes, or begins new ones.
        """
        done = saved.run["iteration"]
        training_state.restore_learners(self, saved)
        training_state.continue_decay([*self.actor, self.critic], done, total)
        self.logger.continue_from(saved.step, done)
        self._saved, self._same_episodes, self._saved_at = saved, same_episodes, saved.step

    def warmup(self) -> None:
        """Reset the environment, or put it where the continued run was."""
        super().warmup()
        if self._saved is not None:
            training_state.restore_moment(self, self._saved.run, self._same_episodes)
            self._saved = None
        self._moment = training_state.moment_of(self)

    def run(self) -> None:
        """Train to the end, or until the logger raises `Stopped`, and save. Always close everything.

        A rollout that is not complete when the training stops is dropped: nothing was learned from it.

        Raises:
          NonFiniteError: a NaN or an infinity; no file contains it.
          MapushError: an error of the environment, with the env step.
          LearnerError: the loop of a fork of HARL uses an attribute that upstream's does not.
        """
        with contextlib.closing(self):
            try:
                super().run()
            except Stopped:
                pass
            except MapushError as error:
                error.add_where(f"env step {self.logger.step}")
                raise
            except AttributeError as error:
                if not any(f"'{name}' object" in str(error) for name in _USED_BY_LOOP):
                    raise
                raise LearnerError(
                    "this HARL's loop asks for something that upstream's does not need",
                    got=str(error),
                    cause="it is a fork, or a different version",
                    fix=USE_VERSION,
                ) from error
            if self._moment is not None and self._saved_at != self._moment.step:
                self.save()
                self._keep(self._moment)

    def compute(self) -> None:
        """Compute the returns, and refuse a rollout in which they are not finite."""
        super().compute()
        if not np.isfinite(self.critic_buffer.returns[:-1]).all():
            cause = "a reward or a value prediction of this rollout is not finite"
            raise NonFiniteError("returns are not finite", where="HarlRunner.compute", cause=cause)

    def train(self) -> Any:
        """Update actors and critic, and refuse weights that are not finite before they are saved.

        HARL's losses of the critic get what `update_observer` finds out about the update.
        """
        explained = explained_variance_of(self.critic_buffer, self.value_normalizer)
        losses = super().train()
        for index, learner in enumerate(self.actor):
            _require_finite(learner.actor, f"actor {index}")
        _require_finite(self.critic.critic, "critic")
        actor_losses, critic_losses = losses
        return actor_losses, dict(critic_losses, explained_variance=explained, **changes_of(self))

    def after_update(self) -> None:
        """Begin the next rollout; the place between the two is where a stopped or saved run continues."""
        by_clock = not self._due and self._save_now()
        if by_clock:
            self.save()
        super().after_update()
        self._moment = training_state.moment_of(self)
        if self._due:
            self._keep(self._moment, by_clock)

    def _keep(self, moment: training_state.BetweenRollouts, by_clock: bool = False) -> None:
        """Report the weights that `save` has written, with what else a continued run needs."""
        self._due = False
        self._saved_at = moment.step
        optimizers = {training_state.OPTIMIZERS: training_state.optimizers_of(self)}
        self._on_save(moment.step, optimizers, moment.run, by_clock)

    def save(self) -> None:
        """Write weights and value statistics.

        Raises:
          CheckpointError: the disk is full or the folder cannot be written.
        """
        try:
            Path(self.save_dir).mkdir(parents=True, exist_ok=True)
            super().save()
        except (OSError, RuntimeError) as error:
            if explain(error) is not None:  # caused by the GPU, not by the disk
                raise
            raise CheckpointError(
                "HARL's models could not be written",
                where=self.save_dir,
                got=str(error),
                cause="the disk is full, or the folder is not writable",
            ) from error
        self._due = True

    def close(self) -> None:
        """Close environments, log and writer; further calls do nothing."""
        with contextlib.ExitStack() as stack:
            for part in (self.logger, self.writter, self.eval_envs, self.envs):
                if part is not None:
                    stack.callback(part.close)


def with_saved_statistics(value_norm: nn.Module) -> nn.Module:
    """Make the statistics of HARL's `ValueNorm` part of its `state_dict`.

    HARL moves them to the device after it registered them, which on a GPU replaces them by plain tensors: its
    checkpoints of a GPU run do not contain them.

    Source: HARL@d539bad, `harl/common/valuenorm.py`.
    """
    for name in ("running_mean", "running_mean_sq", "debiasing_term"):
        statistic = getattr(value_norm, name)
        setattr(value_norm, name, nn.Parameter(statistic.detach(), requires_grad=False))
    return value_norm


def _require_finite(network: nn.Module, name: str) -> None:
    if torch.isfinite(nn.utils.parameters_to_vector(network.parameters())).all():
        return
    raise NonFiniteError(
        f"weights of {name} are not finite",
        where="HarlRunner.train",
        fix="continue with a smaller happo.lr or happo.critic_lr",
    )


def _seed(seed: int) -> None:
    """Seed the global generators, which HARL uses."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
