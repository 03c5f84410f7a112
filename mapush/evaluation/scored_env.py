"""An environment with HARL's interface whose episodes are scored, whatever outcomes its infos have."""

from __future__ import annotations

from typing import Any, Dict, Optional, Set

import numpy as np
import torch

from mapush.env.harl_env import HarlEnv
from mapush.errors import SpecError


class ScoredEnv(HarlEnv):
    """A `HarlEnv` that takes the names of the outcomes from the first episode that ends.

    Args:
      env: an environment with HARL's interface.

    Attributes:
      flags: names of the outcomes that are bools.
    """

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.flags: Set[str] = set()
        self._names: Optional[Set[str]] = None

    def _count(self, reward: torch.Tensor, done: torch.Tensor, infos: Any) -> Dict[str, torch.Tensor]:
        """See `HarlEnv`; the outcome has all names that the infos have."""
        outcome = super()._count(reward, done, infos)
        for env_id in done.nonzero().flatten().tolist():
            found = dict(infos[env_id][0].get("outcome", {}))
            self._require_same_names(found)
            for name, value in found.items():
                if isinstance(value, (bool, np.bool_)):
                    self.flags.add(name)
                if name not in outcome:
                    outcome[name] = torch.zeros(self.num_envs, dtype=torch.float64)
                outcome[name][env_id] = float(value)
        return outcome

    def _require_same_names(self, found: Dict[str, Any]) -> None:
        if self._names is None:
            self._names = set(found)
        if self._names != set(found):
            raise SpecError(
                "the outcome of an episode has other names than that of the first",
                where="infos of your environment",
                got=", ".join(sorted(found)) or "none",
                expected=", ".join(sorted(self._names)) or "none",
                fix="put the same names into info['outcome'] whenever an episode ends",
            )
