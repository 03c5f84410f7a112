"""Spares a short run the import of torch's compiler, which takes longer than the run.

Optimisers of torch import the compiler in their first step, only to tell it to leave them alone. As long as nothing is
compiled, a stand-in that does nothing is enough; whoever asks it for anything else gets the compiler itself.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any, Callable

COMPILER = "torch._dynamo"


class LazyCompiler(types.ModuleType):
    """Stands in for torch's compiler until something but the calls of optimisers is needed."""

    def graph_break(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, as outside of compiled code."""

    def disable(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Return a function as it is, as nothing is compiled."""
        return fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        return getattr(load(), name)


def load() -> Any:
    """Return the compiler itself, and let everyone have it from now on."""
    if isinstance(sys.modules.get(COMPILER), LazyCompiler):
        del sys.modules[COMPILER]
        vars(sys.modules["torch"]).pop("_dynamo", None)
    return importlib.import_module(COMPILER)


def compile_nothing_yet() -> None:
    """Put the stand-in in place of the compiler, unless that is loaded or torch is not."""
    torch: Any = sys.modules.get("torch")
    if torch is None or COMPILER in sys.modules:
        return
    sys.modules[COMPILER] = torch._dynamo = LazyCompiler(COMPILER)
