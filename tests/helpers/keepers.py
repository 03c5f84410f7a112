"""Objects that keep others alive, for the tests of memory."""

from __future__ import annotations


class Part:
    """An object that keeps things."""

    def __init__(self) -> None:
        self.history = []
        self.inner = None
        self.table = {}


class Slotted:
    """An object that keeps a thing without a dict."""

    __slots__ = ("kept",)

    def __init__(self, kept) -> None:
        self.kept = kept
