"""Adam with clipped gradients and a learning rate that can be lowered, on the CPU and inside a CUDA graph.

A CUDA graph repeats what was recorded, numbers included. So on the GPU the learning rate is a tensor that the graph
reads, and Adam counts its steps on the device (`capturable`).
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

import torch
from torch import nn

from mapush.config import HappoConfig

_CPU_FLAGS: Dict[str, Any] = {"capturable": False, "fused": None}
_GPU_FLAGS: Dict[str, Any] = {"capturable": True, "fused": True}


class Optimizer:
    """The optimiser of one network.

    Args:
      network: the network, already on the device where it stays.
      lr: initial learning rate.
      cfg: `opti_eps`, `weight_decay`, `use_max_grad_norm` and `max_grad_norm` are used.
    """

    def __init__(self, network: nn.Module, lr: float, cfg: HappoConfig) -> None:
        self._parameters = list(network.parameters())
        self._max_grad_norm = math.inf
        if cfg.use_max_grad_norm:
            self._max_grad_norm = cfg.max_grad_norm
        self._flags = _CPU_FLAGS
        self._lr_in_graph: Optional[torch.Tensor] = None
        device = self._parameters[0].device
        if device.type == "cuda":
            self._flags = _GPU_FLAGS
            self._lr_in_graph = torch.full((), lr, device=device)
        group = {"params": self._parameters, "initial_lr": lr}
        self._adam = torch.optim.Adam([group], lr=lr, eps=cfg.opti_eps, weight_decay=cfg.weight_decay, **self._flags)
        self._set_lr(lr)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr

    def zero_grad(self) -> None:
        """Drop the gradients, so that the next backward pass allocates new ones."""
        self._adam.zero_grad()

    def gradients(self) -> List[torch.Tensor]:
        """Return the gradients of the parameters, which all backward passes so far have filled."""
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def step(self) -> torch.Tensor:
        """Clip the gradients, take a step along them, and return their norm before clipping, () float32."""
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._adam.step()
        return norm

    def decay(self, remaining: float) -> None:
        """Set the learning rate to the share `remaining`, from 0 to 1, of the initial one."""
        self._set_lr(self._adam.param_groups[0]["initial_lr"] * remaining)

    def state_dict(self) -> Dict[str, Any]:
        """Return Adam's state with the settings that it has on the CPU; tensors are shared, not copied."""
        state = self._adam.state_dict()
        groups = [dict(group, lr=self._lr, **_CPU_FLAGS) for group in state["param_groups"]]
        return dict(state, param_groups=groups)

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned on any device; tensors of the old state are not used any more."""
        groups = [dict(group, **self._flags) for group in state["param_groups"]]
        self._adam.load_state_dict(dict(state, param_groups=groups))
        self._set_lr(groups[0]["lr"])

    def _set_lr(self, lr: float) -> None:
        self._lr = lr
        group = self._adam.param_groups[0]
        if self._lr_in_graph is None:
            group["lr"] = lr
        else:
            group["lr"] = self._lr_in_graph.fill_(lr)
