"""Running normalisation of value targets.

Source: HARL@d539bad, `common/valuenorm.py`; the buffers carry its names, so its checkpoints load.
"""

from __future__ import annotations

from typing import Tuple

import torch
from torch import nn

from mapush.distributed.ranks import ALONE, Ranks

_BETA = 0.99999  # weight of the old average at each update
_MIN_DEBIASING = 1e-5
_MIN_VARIANCE = 1e-2


class ValueNorm(nn.Module):
    """Mean and variance of all returns so far, as a debiased exponential average.

    Before the first update the mean is 0 and the standard deviation is 0.1, so the first values in units of reward are
    a tenth of the critic's output.

    Attributes:
      running_mean: average of the returns, not yet debiased, (1,).
      running_mean_sq: average of their squares, not yet debiased, (1,).
      debiasing_term: total weight of both averages, from 0 towards 1, ().
    """

    running_mean: torch.Tensor
    running_mean_sq: torch.Tensor
    debiasing_term: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(1))
        self.register_buffer("running_mean_sq", torch.zeros(1))
        self.register_buffer("debiasing_term", torch.tensor(0.0))

    def update(self, returns: torch.Tensor, ranks: Ranks = ALONE) -> None:
        """Add the batch of all ranks to the statistics: B returns (B, 1) of each, in units of reward."""
        mean, mean_sq = returns.mean(dim=0), (returns**2).mean(dim=0)
        ranks.sum_(mean, mean_sq)
        self.running_mean.mul_(_BETA).add_(mean / ranks.size * (1.0 - _BETA))
        self.running_mean_sq.mul_(_BETA).add_(mean_sq / ranks.size * (1.0 - _BETA))
        self.debiasing_term.mul_(_BETA).add_(1.0 - _BETA)

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """Convert values (..., 1) from units of reward to units of the critic."""
        mean, std = self._mean_std()
        return (values - mean) / std

    def denormalize(self, values: torch.Tensor) -> torch.Tensor:
        """Convert values (..., 1) from units of the critic to units of reward."""
        mean, std = self._mean_std()
        return values * std + mean

    def _mean_std(self) -> Tuple[torch.Tensor, torch.Tensor]:
        weight = self.debiasing_term.clamp(min=_MIN_DEBIASING)
        mean = self.running_mean / weight
        variance = self.running_mean_sq / weight - mean**2
        return mean, variance.clamp(min=_MIN_VARIANCE).sqrt()


class IdentityNorm(nn.Module):
    """Replaces `ValueNorm` when values are not normalised: both units are the same."""

    def update(self, returns: torch.Tensor, ranks: Ranks = ALONE) -> None:
        """Ignore the returns."""

    def normalize(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return values

    def denormalize(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values."""
        return values
