"""HARL's own training loop on objects that it is handed."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import numpy as np
import torch
from torch import nn

from mapush.device.gpu_errors import explain
from mapush.env.harl_view import HarlView
from mapush.errors import CheckpointError, LearnerError, MapushError, NonFiniteError
from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter, Stopped
from mapush.upstream.harl.harl_source import load

_HARL = load()
_Upstream: Any = _HARL.OnPolicyHARunner
DEFAULTS = _HARL.defaults
_HANDED_OVER = ("HarlRunner", "HarlView", "HarlLogger", "ScalarWriter")  # what a loop of HARL's works with


class HarlRunner(_Upstream):
    """HARL's runner of HAPPO, in EP mode. All that trains is inherited.

    Upstream's constructor makes environment, logger and folders from their names, in tables that know only upstream's
    own; it is not called. Weights are made in its order, so that the same seed gives the same ones.

    Args:
      algo_args: HARL's settings, by section.
      envs: where the team acts; closed by `close`.
      logger: told of every step.
      writer: told of numbers by forks of HARL that write their own.
      save_dir: folder of the weights.
      device: where networks compute.
      make_eval_envs: makes the environment of HARL's evaluation, which is another one; None if it does not evaluate.
      on_save: called after the weights were saved, with how many env steps were taken.
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
        on_save: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.args = {"algo": "happo", "env": "mapush", "exp_name": "mapush"}
        self.algo_args, self.env_args = algo_args, {"state_type": "EP"}
        self.hidden_sizes = algo_args["model"]["hidden_sizes"]
        self.rnn_hidden_size = self.hidden_sizes[-1]
        self.recurrent_n = algo_args["model"]["recurrent_n"]
        self.action_aggregation = algo_args["algo"]["action_aggregation"]
        self.state_type = self.env_args["state_type"]
        self.share_param = algo_args["algo"]["share_param"]
        self.fixed_order = algo_args["algo"]["fixed_order"]
        self.device, self.logger, self.writter = device, logger, writer
        self.run_dir, self.log_dir, self.save_dir = str(save_dir.parent), str(save_dir.parent), str(save_dir)
        self._on_save, self._saved_at = on_save, -1
        self.envs, self.num_agents = envs, envs.n_agents
        self.eval_envs = make_eval_envs() if make_eval_envs else None
        _seed(algo_args["seed"]["seed"])
        self._make_learners()

    def _make_learners(self) -> None:
        """Make networks, then buffers, which draw no random numbers."""
        envs, settings = self.envs, self.algo_args
        networks = dict(settings["model"], **settings["algo"])
        spaces = list(zip(envs.observation_space, envs.action_space))
        distinct = spaces[:1] if self.share_param else spaces
        actors = [_HARL.HAPPO(networks, obs, action, device=self.device) for obs, action in distinct]
        self.actor = actors * self.num_agents if self.share_param else actors
        arrays = dict(settings["train"], **settings["model"])
        self.actor_buffer = [_HARL.OnPolicyActorBuffer(arrays, obs, action) for obs, action in spaces]
        state = envs.share_observation_space[0]
        self.critic = _HARL.VCritic(networks, state, device=self.device)
        self.critic_buffer = _HARL.OnPolicyCriticBufferEP(dict(arrays, **settings["algo"]), state)
        self.value_normalizer = None
        if settings["train"]["use_valuenorm"]:
            self.value_normalizer = with_saved_statistics(_HARL.ValueNorm(1, device=self.device))

    def run(self) -> None:
        """Train to the end, or until the logger says stop; save; close everything, whatever happens.

        Raises:
          NonFiniteError: a NaN or an infinity; nothing that holds it was saved.
          MapushError: whatever else the environment raises; all with the env step at which it was.
          LearnerError: a fork of HARL whose loop asks for more than upstream's.
        """
        with contextlib.closing(self):
            try:
                super().run()
            except Stopped:
                pass
            except MapushError as error:
                error.where = "{}env step {}".format(error.where + ", " if error.where else "", self.logger.step)
                raise
            except AttributeError as error:
                if not any(f"'{name}' object" in str(error) for name in _HANDED_OVER):
                    raise
                fix = "use PKU-MARL/HARL at d539bad, or --learner native"
                what = "this HARL's loop asks for something that upstream's does not need"
                raise LearnerError(what, got=str(error), cause="it is a fork, or another version", fix=fix) from error
            self.save()

    def compute(self) -> None:
        """Compute returns, and refuse a rollout from which nothing can be learned."""
        super().compute()
        if not np.isfinite(self.critic_buffer.returns[:-1]).all():
            cause = "a reward or a value prediction of this rollout is not finite"
            raise NonFiniteError("returns are not finite", where="HarlRunner.compute", cause=cause)

    def train(self) -> Any:
        """Update actors and critic; weights that are lost end the run before they are saved."""
        losses = super().train()
        networks = {f"actor {agent}": one.actor for agent, one in enumerate(self.actor)}
        for name, network in dict(networks, critic=self.critic.critic).items():
            if not torch.isfinite(nn.utils.parameters_to_vector(network.parameters())).all():
                fix = "continue with a smaller happo.lr or happo.critic_lr"
                raise NonFiniteError(f"weights of {name} are not finite", where="HarlRunner.train", fix=fix)
        return losses

    def save(self) -> None:
        """Write weights and value statistics; nothing is done if there was no update since the last time.

        Raises:
          CheckpointError: the disk is full or the folder cannot be written.
        """
        if self._saved_at == self.logger.step:
            return
        try:
            Path(self.save_dir).mkdir(parents=True, exist_ok=True)
            super().save()
        except (OSError, RuntimeError) as error:
            if explain(error) is not None:  # the GPU's fault, not the disk's
                raise
            cause = "the disk is full, or the folder is not writable"
            what = "HARL's models could not be written"
            raise CheckpointError(what, where=self.save_dir, got=str(error), cause=cause) from error
        self._saved_at = self.logger.step
        self._on_save(self._saved_at)

    def close(self) -> None:
        """Close environments, log and writer; further calls do nothing."""
        with contextlib.ExitStack() as stack:
            for part in (self.logger, self.writter, self.eval_envs, self.envs):
                if part is not None:
                    stack.callback(part.close)


def with_saved_statistics(value_norm: nn.Module) -> nn.Module:
    """Make the statistics of HARL's `ValueNorm` part of its `state_dict`.

    Upstream moves them to the device after it has registered them, which on a GPU leaves plain tensors in their place:
    its checkpoints of a GPU run hold none.
    """
    for name in ("running_mean", "running_mean_sq", "debiasing_term"):
        statistic = getattr(value_norm, name)
        setattr(value_norm, name, nn.Parameter(statistic.detach(), requires_grad=False))
    return value_norm


def _seed(seed: int) -> None:
    """Seed the global generators, from which HARL draws."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
