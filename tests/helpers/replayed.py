"""What a GPU does with a recorded function, on the CPU: fixed places for arguments and results, and no Python again."""

from __future__ import annotations

from typing import Any, Callable, List, Sequence

import torch

from mapush.device.cuda_graphs import _copy, map_tensors, tensors_in


class Replayed:
    """Stands in for `Captured`: after the warm-ups it computes in copies of the arguments that stay where they are.

    What the function changes besides tensors is undone by `owner_of`, because a replay runs no Python.

    Args:
      function: see `Captured`.
      warmups: see `Captured`.
      generators: see `Captured`; they are drawn from by the function itself.
    """

    def __init__(self, function: Callable[..., Any], warmups: int = 2, generators: Sequence[Any] = ()) -> None:
        self._function, self._warmups, self._calls = function, warmups, 0
        self._copies: Any = None
        self._arguments: List[torch.Tensor] = []
        self._result: Any = None

    def forget(self) -> None:
        """Start over."""
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Return the result, which the next call overwrites."""
        self._calls += 1
        if self._calls <= self._warmups:
            return self._function(*arguments)
        if self._calls == self._warmups + 1:
            self._copies = map_tensors(lambda tensor: tensor.detach().clone(), arguments)
            self._arguments = tensors_in(self._copies)
            self._result = self._run()
            return self._result
        _copy(tensors_in(arguments), self._arguments)
        for fixed, value in zip(tensors_in(self._result), tensors_in(self._run())):
            if fixed.data_ptr() != value.data_ptr():
                fixed.copy_(value)
        return self._result

    def _run(self) -> Any:
        """Call the function with the copies, in containers of its own, and forget what else it has changed."""
        owner = getattr(self._function, "__self__", None)
        before = dict(vars(owner)) if owner is not None else {}
        result = self._function(*map_tensors(lambda tensor: tensor, self._copies))
        if owner is not None:
            vars(owner).clear()
            vars(owner).update(before)
        return result
