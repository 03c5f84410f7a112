"""Files that exist already: which may be replaced, and how the others are kept.

Nothing may be overwritten that cost more than what overwrites it. So a file of other content is refused unless the user
asks to overwrite it; see `kept_results` for the results of evaluations, which are compared by what they are based on.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import tempfile
from pathlib import Path
from typing import Iterator, List, Sequence

from mapush.errors import ConfigError
from mapush.run.atomic import written_at_once

OVERWRITE = "--overwrite replaces it; or name a different file"


def require_absent(path: Path, overwrite: bool, what: str) -> None:
    """Refuse a file that exists, before the work that would replace it.

    Args:
      path: the file that shall be written.
      overwrite: whether the user asked to replace it.
      what: what it would hold, in a word or two.

    Raises:
      ConfigError: it exists, and may not be replaced.
    """
    if path.is_dir():
        raise ConfigError(f"the {what} cannot be written: there is a folder of this name", where=str(path))
    if path.exists() and not overwrite:
        raise _exists(path, what)


def free_name(path: Path) -> Path:
    """Return a path that does not exist, for a file that the user has not named: FILE, FILE-2, FILE-3, ..."""
    number, found = 2, path
    while found.exists():
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return found


@contextlib.contextmanager
def new_or_equal(path: Path, overwrite: bool, what: str) -> Iterator[Path]:
    """Give a temporary path to write to; at the end, rename it to `path`, unless that holds something different.

    Args:
      path: the file.
      overwrite: whether it may be replaced all the same.
      what: what it holds, in a word or two.

    Raises:
      ConfigError: the file exists and has other content, or it cannot be written.
    """
    if path.is_dir():
        raise ConfigError(f"the {what} cannot be written: there is a folder of this name", where=str(path))
    try:
        with written_at_once(path) as part:
            yield part
            if path.exists() and not overwrite and not filecmp.cmp(str(part), str(path), shallow=False):
                raise _exists(path, what)
    except OSError as error:
        raise _not_writable(path, what, error) from error


@contextlib.contextmanager
def new_or_equal_files(folder: Path, patterns: Sequence[str], overwrite: bool, what: str) -> Iterator[Path]:
    """Give a temporary folder to write to; at the end, move its files to `folder`, unless that holds different ones.

    Args:
      folder: the folder; other files in it stay.
      patterns: names of the files that belong together, as for `Path.glob`; older ones are removed.
      overwrite: whether different ones may be replaced.
      what: what the files hold, in a word or two.

    Raises:
      ConfigError: the folder has other files of this kind, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"the {what} cannot be written: there is a file of this name", where=str(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(folder.parent), prefix=folder.name + ".") as name:
            unfinished = Path(name)
            yield unfinished
            older = _files(folder, patterns)
            if older and not overwrite and not _equal(unfinished, folder, patterns):
                raise _exists(folder, what)
            folder.mkdir(exist_ok=True)
            for path in older:
                path.unlink()
            for path in _files(unfinished, patterns):
                os.replace(str(path), str(folder / path.name))
    except OSError as error:
        raise _not_writable(folder, what, error) from error


def _files(folder: Path, patterns: Sequence[str]) -> List[Path]:
    found: List[Path] = []
    for pattern in patterns:
        found += folder.glob(pattern)
    return sorted(found)


def _equal(folder: Path, other: Path, patterns: Sequence[str]) -> bool:
    """Return whether two folders have the same files of a kind, with the same content."""
    names = [path.name for path in _files(folder, patterns)]
    if names != [path.name for path in _files(other, patterns)]:
        return False
    same, _, _ = filecmp.cmpfiles(str(folder), str(other), names, shallow=False)
    return len(same) == len(names)


def _exists(path: Path, what: str) -> ConfigError:
    fix = OVERWRITE
    if path.is_dir():
        fix = fix.replace("file", "folder")
    return ConfigError(f"the {what} would replace something different", where=str(path), fix=fix)


def _not_writable(path: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(f"the {what} cannot be written", where=str(path), got=error.strerror or str(error))
