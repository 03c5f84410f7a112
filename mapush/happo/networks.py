"""Actor and critic networks, with HARL's layers, initial weights and parameter names.

Source: HARL@d539bad, `models/`; checkpoints of the one load into the other.
"""

from __future__ import annotations

import math
from typing import Any, Tuple, cast

import torch
from torch import nn

from mapush.config import HappoConfig

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
    "selu": nn.SELU,
}
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class Base(nn.Module):
    """The layers below a head: LayerNorm of the input, then (Linear, activation, LayerNorm) per hidden size."""

    def __init__(self, cfg: HappoConfig, input_dim: int) -> None:
        super().__init__()
        self.feature_norm = nn.LayerNorm(input_dim) if cfg.use_feature_normalization else nn.Identity()
        activation_func: Any = cfg.activation_func  # torch wants a literal; the configuration has checked it
        gain = nn.init.calculate_gain(activation_func)
        layers = []
        for size_in, size_out in zip((input_dim,) + tuple(cfg.hidden_sizes), cfg.hidden_sizes):
            activation = _ACTIVATIONS[cfg.activation_func]()
            layers += [_linear(cfg, size_in, size_out, gain), activation, nn.LayerNorm(size_out)]
        self.mlp = nn.ModuleDict({"fc": nn.Sequential(*layers)})

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the features (B, hidden_sizes[-1]) of inputs (B, input_dim)."""
        return self.mlp["fc"](self.feature_norm(inputs))


class GaussianHead(nn.Module):
    """A normal distribution per action dimension; its standard deviation does not depend on the observation."""

    def __init__(self, cfg: HappoConfig, input_dim: int, action_dim: int) -> None:
        super().__init__()
        self.fc_mean = _linear(cfg, input_dim, action_dim, cfg.gain)
        self.log_std = nn.Parameter(torch.full((action_dim,), float(cfg.std_x_coef)))
        self._std_x_coef = cfg.std_x_coef
        self._std_y_coef = cfg.std_y_coef

    @property
    def std(self) -> torch.Tensor:
        """(K,) standard deviation, between 0 and `std_y_coef`."""
        return torch.sigmoid(self.log_std / self._std_x_coef) * self._std_y_coef


class Actor(nn.Module):
    """The policy of one agent.

    Args:
      cfg: sizes, activation, initialisation and exploration.
      obs_dim: features of an observation.
      action_dim: K, numbers in an action.
    """

    def __init__(self, cfg: HappoConfig, obs_dim: int, action_dim: int) -> None:
        super().__init__()
        self.base = Base(cfg, obs_dim)
        self.act = nn.ModuleDict({"action_out": GaussianHead(cfg, cfg.hidden_sizes[-1], action_dim)})

    @property
    def std(self) -> torch.Tensor:
        """(K,) standard deviation of the action."""
        return self._head.std

    @property
    def _head(self) -> GaussianHead:
        return cast(GaussianHead, self.act["action_out"])

    @property
    def entropy(self) -> torch.Tensor:
        """Entropy of the action, summed over its dimensions, in nats; the same for every observation."""
        return (self.std.log() + 0.5 + _HALF_LOG_2PI).sum()

    def mean(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean action (B, K) for observations (B, obs_dim)."""
        return self._head.fc_mean(self.base(obs))

    def sample(self, obs: torch.Tensor, generator: torch.Generator) -> Tuple[torch.Tensor, torch.Tensor]:
        """Draw actions (B, K) for observations (B, obs_dim), with the log-probability (B, K) of each dimension."""
        mean = self.mean(obs)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        action = noise * self.std + mean
        return action, self._log_prob(mean, action)

    def log_prob(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        """Return the log-probability (B, K) of each dimension of actions (B, K) taken on observations (B, obs_dim)."""
        return self._log_prob(self.mean(obs), action)

    def _log_prob(self, mean: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        std = self.std
        return -0.5 * ((action - mean) / std) ** 2 - (std.log() + _HALF_LOG_2PI)


class Critic(nn.Module):
    """The value of a global state, in the units of the value normalisation."""

    def __init__(self, cfg: HappoConfig, share_obs_dim: int) -> None:
        super().__init__()
        self.base = Base(cfg, share_obs_dim)
        self.v_out = _linear(cfg, cfg.hidden_sizes[-1], 1, gain=1.0)

    def forward(self, share_obs: torch.Tensor) -> torch.Tensor:
        """Return the values (B, 1) of states (B, share_obs_dim)."""
        return self.v_out(self.base(share_obs))


def _linear(cfg: HappoConfig, size_in: int, size_out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(size_in, size_out)
    getattr(nn.init, cfg.initialization_method)(layer.weight, gain=gain)
    nn.init.zeros_(layer.bias)
    return layer
