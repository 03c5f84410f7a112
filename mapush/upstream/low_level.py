"""MAPush's low level: its own where the checkout has it, otherwise the body that comes with this package.

Every checkout from MAPush's repository has the file `body_latest.jit`; copies that leave out large files lack it.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

BODY, ADAPTATION = "body_latest.jit", "adaptation_module_latest.jit"
SHIPPED = Path(__file__).resolve().parent.parent / "policies" / BODY


def folder_with_body(folder: Path, shipped: Path = SHIPPED) -> Path:
    """Return `folder`, or a temporary one in which the shipped body stands for one that `folder` lacks.

    Args:
      folder: where upstream expects its body and its adaptation module.
      shipped: the body that comes with this package.
    """
    if (folder / BODY).is_file() or not shipped.is_file():
        return folder
    made = Path(tempfile.mkdtemp(prefix="mapush-low-level-"))
    atexit.register(shutil.rmtree, str(made), ignore_errors=True)
    shutil.copy(str(shipped), str(made / BODY))
    if (folder / ADAPTATION).is_file():
        shutil.copy(str(folder / ADAPTATION), str(made / ADAPTATION))
    print(f"MAPush's {BODY} is not in {folder}; the robots walk with the one that was trained for this package")
    return made
