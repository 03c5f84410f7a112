"""The networks of MAPush's low level, which turn velocity commands into joint angles, where a checkout lacks one.

Every clone of MAPush has both files, but copies without large files lack `body_latest.jit`. Ours has the same
interface, 2102 numbers in and 12 out, but is a different policy.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

from mapush.errors import ConfigError
from mapush.sim.mapush_source import GET_MQE

BODY = "body_latest.jit"
ADAPTATION = "adaptation_module_latest.jit"
OURS = Path(__file__).resolve().parents[1] / "policies" / "go1_body.jit"


@contextlib.contextmanager
def low_level(folder: Path, ours: Path = OURS, say: Callable[[str], Any] = print) -> Iterator[Path]:
    """Yield a folder with both networks: `folder`, or a temporary one with our body. The checkout stays as it is.

    Args:
      folder: upstream's, in its checkout.
      ours: the body for checkouts that have none.
      say: is called with one line if it is used.

    Raises:
      ConfigError: a network is missing.
    """
    if not (folder / ADAPTATION).is_file():
        raise _missing(folder / ADAPTATION)
    if (folder / BODY).is_file():
        yield folder
        return
    if not ours.is_file():
        raise _missing(folder / BODY)
    say(f"this copy of MAPush has no {BODY}: the robots walk with ours, {ours.name}, which is a different policy")
    with tempfile.TemporaryDirectory(prefix="mapush_low_level_") as temporary:
        shutil.copy(folder / ADAPTATION, Path(temporary, ADAPTATION))
        shutil.copy(ours, Path(temporary, BODY))
        yield Path(temporary)


def _missing(path: Path) -> ConfigError:
    return ConfigError(
        "a network of MAPush's low level is missing",
        where=str(path),
        cause="a copy without large files, or git-lfs is not installed",
        fix=GET_MQE,
    )
