"""Adam with clipped gradients and a learning rate that can be lowered, on the CPU and inside a CUDA graph."""

from __future__ import annotations

import math
from typing import Any, Dict, Optional

import torch
from torch import nn

from mapush.config import HappoConfig

_CPU_FLAGS: Dict[str, Any] = {"capturable": False, "fused": None}
_GPU_FLAGS: Dict[str, Any] = {"capturable": True, "fused": True}


class Optimizer:
    """The optimiser of one network.

    Args:
      network: on the device where it stays.
      lr: initial learning rate.
      cfg: `opti_eps`, `weight_decay`, `use_max_grad_norm`, `max_grad_norm`.
    """

    def __init__(self, network: nn.Module, lr: float, cfg: HappoConfig) -> None:
        self._parameters = list(network.parameters())
        self._max_grad_norm = cfg.max_grad_norm if cfg.use_max_grad_norm else math.inf
        device = self._parameters[0].device
        on_gpu = device.type == "cuda"
        self._flags = _GPU_FLAGS if on_gpu else _CPU_FLAGS
        self._lr_in_graph: Optional[torch.Tensor] = torch.full((), lr, device=device) if on_gpu else None
        group = {"params": self._parameters, "initial_lr": lr}
        self._adam = torch.optim.Adam([group], lr=lr, eps=cfg.opti_eps, weight_decay=cfg.weight_decay, **self._flags)
        self._set_lr(lr)

    def zero_grad(self) -> None:
        """Drop the gradients, so that the next backward pass allocates them anew."""
        self._adam.zero_grad()

    def step(self) -> torch.Tensor:
        """Clip the gradients, take a step along them and return their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._adam.step()
        return norm

    def decay(self, remaining: float) -> None:
        """Set the learning rate to what is `remaining` of the initial one, from 0 to 1."""
        self._set_lr(self._adam.param_groups[0]["initial_lr"] * remaining)

    def state_dict(self) -> Dict[str, Any]:
        """Return Adam's state as it is on the CPU, but for the device of its tensors, which are shared."""
        state = self._adam.state_dict()
        return dict(state, param_groups=[dict(group, lr=self._lr, **_CPU_FLAGS) for group in state["param_groups"]])

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned on any device; the tensors of the old state are given up."""
        groups = [dict(group, **self._flags) for group in state["param_groups"]]
        self._adam.load_state_dict(dict(state, param_groups=groups))
        self._set_lr(groups[0]["lr"])

    def _set_lr(self, lr: float) -> None:
        self._lr = lr
        group = self._adam.param_groups[0]
        group["lr"] = lr if self._lr_in_graph is None else self._lr_in_graph.fill_(lr)
