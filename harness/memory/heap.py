"""What malloc has given out, asked of the C library."""

from __future__ import annotations

import ctypes
from typing import Any, Optional


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    ]


def bytes_in_use() -> int:
    """Return the bytes that are in use, over all arenas and mappings of malloc.

    Raises:
      NotImplementedError: the C library does not tell.
    """
    if _mallinfo2 is None:
        raise NotImplementedError("the C library has no mallinfo2 (glibc has it from 2.33 on)")
    info = _mallinfo2()
    return info.uordblks + info.hblkhd


def _load() -> Optional[Any]:
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return None
    function.restype = _MallInfo2
    return function


_mallinfo2 = _load()
