"""Files that are written completely or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterator


@contextlib.contextmanager
def written_at_once(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to; when the block ends, rename that file to `path`.

    So `path` holds its old content or its new one at any moment, even if the process is killed. If the block raises,
    the temporary file is removed and `path` is left as it was.

    Args:
      path: the file; its folder is made if it is missing.
      durable: wait until the disk has the file, so that it also survives a power failure.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        if durable:
            _sync(part)
        os.replace(str(part), str(path))
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        raise


def _sync(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    """Wait until the disk has the new name, too; Windows cannot open a folder and needs no such call."""
    if os.name == "nt":
        return
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
