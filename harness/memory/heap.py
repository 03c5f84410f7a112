"""The bytes in use from malloc, as the C library reports them."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

_MALLINFO2_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


class _MallInfo2(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = [(name, ctypes.c_size_t) for name in _MALLINFO2_FIELDS]


def bytes_in_use() -> int:
    """Return the bytes in use in all arenas and mappings of malloc.

    Raises:
      NotImplementedError: the C library does not report them.
    """
    if _mallinfo2 is None:
        raise NotImplementedError("the C library has no mallinfo2 (glibc has it since 2.33)")
    info = _mallinfo2()
    return info.uordblks + info.hblkhd


def _load() -> Optional[Any]:
    """Return the C function `mallinfo2`; None if the C library does not have it."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        return None
    function.restype = _MallInfo2
    return function


_mallinfo2 = _load()
