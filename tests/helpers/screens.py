"""A virtual display whose pixels a test can read, keys and mouse for it, and a reader of plain PNG files."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import zlib
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np


class Screen:
    """A display of 640 x 480 that only this process uses.

    Args:
      folder: where its pixels are kept.
      options: further ones of Xvfb.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        reading, writing = os.pipe()
        command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-fbdir", str(folder)]
        command += ["-nolisten", "tcp", *options]
        self._server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            self.name = ":" + pipe.readline().strip()
        self.file = folder / "Xvfb_screen0"

    def close(self) -> None:
        """Stop the display."""
        self._server.terminate()
        self._server.wait()


def screen_pixels(file: Path) -> np.ndarray:
    """Return what the display of this file shows, (height, width, 3), uint8."""
    content = file.read_bytes()
    header = struct.unpack(">25I", content[:100])  # of an X window dump
    size, width, height, bytes_per_line, colors = header[0], header[4], header[5], header[12], header[19]
    start = size + 12 * colors
    rows = np.frombuffer(content, np.uint8, height * bytes_per_line, start).reshape(height, -1)
    return rows[:, : 4 * width].reshape(height, width, 4)[:, :, 2::-1].copy()


def can_type() -> bool:
    """Return whether keys can be sent to a display."""
    return bool(find_library("X11") and find_library("Xtst"))


class Hands:
    """Press keys and move the mouse on the display of this process, as a user does."""

    def __init__(self) -> None:
        self._x = ctypes.CDLL(find_library("X11"))
        self._test = ctypes.CDLL(find_library("Xtst"))
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._x.XKeysymToKeycode.argtypes = [ctypes.c_void_p, ctypes.c_ulong]
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(None))

    def key(self, keysym: int) -> None:
        """Press and release a key, given by X's number of its symbol."""
        code = self._x.XKeysymToKeycode(self._display, keysym)
        for down in (1, 0):
            self._send(self._test.XTestFakeKeyEvent, code, down)

    def move(self, x: int, y: int) -> None:
        """Move the mouse to a pixel."""
        self._send(self._test.XTestFakeMotionEvent, 0, x, y)

    def button(self, number: int, down: bool) -> None:
        """Press or release a button: 1 is the left one, 4 the wheel upward."""
        self._send(self._test.XTestFakeButtonEvent, number, int(down))

    def _send(self, function: Any, *words: int) -> None:
        function(self._display, *words, ctypes.c_ulong(0))
        self._x.XSync(self._display, 0)


def decoded_png(path: Path) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Return width, height, bits and colour type of a PNG file without filters, and the bytes of its rows."""
    content = path.read_bytes()
    width, height, bits, kind = struct.unpack(">IIBB", content[16:26])
    start = content.index(b"IDAT") + 4
    rows = np.frombuffer(zlib.decompress(content[start:-16]), dtype=np.uint8).reshape(height, -1)
    return (width, height, bits, kind), rows[:, 1:]
