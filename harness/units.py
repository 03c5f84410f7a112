"""Sizes of memory, read from text and written for people."""

from __future__ import annotations

import re

from mapush.errors import ConfigError

GIB, MIB = 2**30, 2**20

_BYTES_PER_UNIT = {"GiB": GIB, "MiB": MIB, "GB": 10**9, "MB": 10**6}


def bytes_of(size: str) -> int:
    """Return a size such as 8GiB, 1.5GB or 8000MiB in bytes.

    Raises:
      ConfigError: the text is not a size, or the size is 0.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(GiB|MiB|GB|MB)", size)
    count = 0
    if found is not None:
        number, unit = found.groups()
        count = int(float(number) * _BYTES_PER_UNIT[unit])
    if count == 0:
        expected = "a number and a unit, such as 8GiB or 8000MB"
        raise ConfigError("not a size of memory", got=repr(size), expected=expected)
    return count


def gib(size: int) -> str:
    """Return a size [bytes] as text in GiB, or in MiB if it is small."""
    if size >= GIB / 10:
        return f"{size / GIB:.1f} GiB"
    return f"{size / MIB:.0f} MiB"
