"""Actor and critic networks, with HARL's layers, initial weights and parameter names.

Source: HARL@d539bad, `models/`. Because the names are the same, HARL's checkpoints load here, and ours load there.
"""

from __future__ import annotations

import math
from typing import Any, List, Optional, Tuple

import torch
from torch import nn

from mapush.config import HappoConfig
from mapush.distributed.ranks import ALONE, Ranks
from mapush.spec import SetLayout

ROW_FEATURES = 64
"""Features that each row of a set is encoded into."""

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "selu": nn.SELU,
}
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Base(nn.Module):
    """The layers below a head: LayerNorm of the input, then Linear, activation and LayerNorm for each hidden size.

    Args:
      cfg: sizes, activation and initialisation.
      input_dim: features of the input.
    """

    def __init__(self, cfg: HappoConfig, input_dim: int) -> None:
        super().__init__()
        self.feature_norm: nn.Module = nn.Identity()
        if cfg.use_feature_normalization:
            self.feature_norm = nn.LayerNorm(input_dim)
        activation_func: Any = cfg.activation_func  # torch declares a Literal; the configuration has checked the name
        gain = nn.init.calculate_gain(activation_func)
        layers: List[nn.Module] = []
        size_in = input_dim
        for size_out in cfg.hidden_sizes:
            activation = _ACTIVATIONS[cfg.activation_func]()
            layers += [_linear(cfg, size_in, size_out, gain), activation, nn.LayerNorm(size_out)]
            size_in = size_out
        self.mlp = nn.ModuleDict({"fc": nn.Sequential(*layers)})

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features (B, hidden_sizes[-1]) of inputs (B, input_dim)."""
        return self.mlp["fc"](self.feature_norm(inputs))


class SetBase(nn.Module):
    """A `Base` whose input ends with the rows of a set: each is encoded, and their mean and maximum replace them.

    So the result depends neither on the order of the rows nor on the content of empty ones.

    Source: Zaheer et al., Deep Sets, NeurIPS 2017.

    Args:
      cfg: sizes, activation and initialisation.
      input_dim: features of the input, rows included.
      layout: the rows.
    """

    def __init__(self, cfg: HappoConfig, input_dim: int, layout: SetLayout) -> None:
        super().__init__()
        self._layout = layout
        self._others = input_dim - layout.rows * layout.width
        gain = nn.init.calculate_gain("relu")
        self.row = nn.Sequential(
            _linear(cfg, layout.width - 1, ROW_FEATURES, gain),
            nn.ReLU(),
            _linear(cfg, ROW_FEATURES, ROW_FEATURES, gain),
            nn.ReLU(),  # at least 0, so that the zeros of empty rows never are a maximum of their own
        )
        self.base = Base(cfg, self._others + 1 + 2 * ROW_FEATURES)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features (..., hidden_sizes[-1]) of inputs (..., input_dim)."""
        others, rows = inputs.split((self._others, self._layout.rows * self._layout.width), dim=-1)
        rows = rows.unflatten(-1, (self._layout.rows, self._layout.width))
        present = rows[..., -1:]
        encoded = self.row(rows[..., :-1]).masked_fill(present == 0.0, 0.0)
        count = present.sum(dim=-2)
        mean = encoded.sum(dim=-2) / count.clamp(min=1.0)
        share = count / self._layout.rows
        return self.base(torch.cat((others, share, mean, encoded.amax(dim=-2)), dim=-1))


def _base(cfg: HappoConfig, input_dim: int, layout: Optional[SetLayout]) -> nn.Module:
    if layout is None:
        return Base(cfg, input_dim)
    return SetBase(cfg, input_dim, layout)


class GaussianHead(nn.Module):
    """A normal distribution per action dimension; its standard deviation does not depend on the observation.

    Args:
      cfg: exploration and the gain of the output layer.
      input_dim: features of the input.
      action_dim: numbers in an action, K.
    """

    def __init__(self, cfg: HappoConfig, input_dim: int, action_dim: int) -> None:
        super().__init__()
        self.fc_mean = _linear(cfg, input_dim, action_dim, cfg.gain)
        self.log_std = nn.Parameter(torch.full((action_dim,), float(cfg.std_x_coef)))
        self._std_x_coef = cfg.std_x_coef
        self._std_y_coef = cfg.std_y_coef

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of each action dimension, between 0 and `std_y_coef`, (K,)."""
        return torch.sigmoid(self.log_std / self._std_x_coef) * self._std_y_coef


class ActionLayer(nn.Module):
    """Holds the head under the name that it has in HARL's checkpoints.

    Args:
      action_out: the head.
    """

    def __init__(self, action_out: GaussianHead) -> None:
        super().__init__()
        self.action_out = action_out


class Actor(nn.Module):
    """The policy of one agent.

    Args:
      cfg: sizes, activation, initialisation and exploration.
      obs_dim: features of an observation.
      action_dim: numbers in an action, K.
      layout: the rows of a set at the end of the observation, if there are any.
    """

    def __init__(self, cfg: HappoConfig, obs_dim: int, action_dim: int, layout: Optional[SetLayout] = None) -> None:
        super().__init__()
        self.base = _base(cfg, obs_dim, layout)
        self.act = ActionLayer(GaussianHead(cfg, cfg.hidden_sizes[-1], action_dim))

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of each action dimension, (K,)."""
        return self.act.action_out.std

    @property
    def entropy(self) -> torch.Tensor:
        """Entropy of the action [nat], summed over its dimensions, (); the same for every observation."""
        return (self.std.log() + 0.5 + _HALF_LOG_2PI).sum()

    def mean(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean action (B, K) for observations (B, obs_dim)."""
        return self.act.action_out.fc_mean(self.base(obs))

    def sample(
        self, obs: torch.Tensor, generator: torch.Generator, ranks: Ranks = ALONE
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Draw actions for observations (B, obs_dim).

        Args:
          obs: this rank's observations.
          generator: in the same state on every rank; it draws the noise of all of them.
          ranks: this process among the others.

        Returns:
          Actions (B, K), and the log-probability of each of their dimensions (B, K).
        """
        mean = self.mean(obs)
        rows, action_dim = mean.shape
        noise = torch.randn((ranks.size * rows, action_dim), generator=generator, device=mean.device)
        action = noise[ranks.rows(rows)] * self.std + mean
        return action, self._log_prob(mean, action)

    def log_prob(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the log-probability (B, K) of each dimension of actions (B, K) taken on observations (B, obs_dim)."""
        return self._log_prob(self.mean(obs), action)

    def _log_prob(self, mean: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        std = self.std
        return -0.5 * ((action - mean) / std) ** 2 - (std.log() + _HALF_LOG_2PI)


class Critic(nn.Module):
    """The value of a global state, in the units of the value normalisation.

    Args:
      cfg: sizes, activation and initialisation.
      share_obs_dim: features of the state.
      layout: the rows of a set at the end of the state, if there are any.
    """

    def __init__(self, cfg: HappoConfig, share_obs_dim: int, layout: Optional[SetLayout] = None) -> None:
        super().__init__()
        self.base = _base(cfg, share_obs_dim, layout)
        self.v_out = _linear(cfg, cfg.hidden_sizes[-1], 1, gain=1.0)

    def forward(self, share_obs: torch.Tensor) -> torch.Tensor:
        """Return the values (B, 1) of states (B, share_obs_dim)."""
        return self.v_out(self.base(share_obs))


def _linear(cfg: HappoConfig, size_in: int, size_out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(size_in, size_out)
    getattr(nn.init, cfg.initialization_method)(layer.weight, gain=gain)
    nn.init.zeros_(layer.bias)
    return layer
