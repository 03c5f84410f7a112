"""An untrained walking policy, for tests that need robots on their feet but no skill."""

from __future__ import annotations

import numpy as np
import torch

from mapush.sim.walking import OBS_DIM, Network, WalkingPolicy


def untrained_walker() -> WalkingPolicy:
    """Return a policy whose networks return zero."""
    weights = {"0.weight": np.zeros((12, OBS_DIM), np.float32), "0.bias": np.zeros(12, np.float32)}
    network = Network(weights, "elu", torch.device("cpu"))
    return WalkingPolicy(network, network)
