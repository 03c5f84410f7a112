"""Explain errors of PyTorch, CUDA and Warp: a GPU that cannot be used, is full, or fails."""

from __future__ import annotations

import contextlib
import re
import textwrap
from typing import Callable, Iterator, NamedTuple, Optional

from mapush.errors import MapushError, SimulatorError


class _KnownError(NamedTuple):
    """A known error.

    Attributes:
      pattern: regular expression that its message matches.
      what: the first line of the explanation; a template that the groups of `pattern` fill.
      cause: the most likely reason.
      fix: what to do about it; a template that the groups of `pattern` fill.
    """

    pattern: str
    what: str
    cause: Optional[str]
    fix: str


_FATAL = (  # errors after which a process cannot use CUDA any more
    "an illegal memory access|device-side assert|unspecified launch failure|misaligned address|an illegal instruction|"
    "invalid program counter|hardware stack error|the launch timed out|uncorrectable"
)

_KNOWN_ERRORS = (  # the first match counts; any other error of CUDA is a bug of the program, which needs its traceback
    _KnownError(
        r"CUDA out of memory|error(?: 2)?: out of memory|_ALLOC_FAILED|^Failed to allocate \d+ bytes on .*cuda:\d+'$",
        "the memory of the GPU is full",
        "too many envs for this GPU or for --vram-limit, or other processes use the GPU",
        "lower --num-envs; nvidia-smi shows which processes use the GPU",
    ),
    _KnownError(
        r"not compiled with CUDA",
        "this PyTorch is built only for the CPU",
        None,
        "install the build for your version of CUDA: https://pytorch.org/get-started",
    ),
    _KnownError(
        r"no NVIDIA driver|CUDA is not supported by the hardware or driver|Invalid device identifier: cuda",
        "there is no NVIDIA driver",
        "the driver is not installed, or the container has no access to the GPU",
        "install the driver, or start the container with --gpus all; then nvidia-smi must list the GPU",
    ),
    _KnownError(
        r"driver on your system is too old \(found version (\d+)0(\d)0\)",
        "the NVIDIA driver is too old: it supports CUDA {}.{}, and this PyTorch needs a newer version",
        None,
        "update the driver, or install a PyTorch that is built for CUDA {}.{}",
    ),
    _KnownError(
        r"No CUDA GPUs are available",
        "CUDA sees no GPU",
        "the machine has no GPU, or CUDA_VISIBLE_DEVICES hides it",
        "unset CUDA_VISIBLE_DEVICES; nvidia-smi must list the GPU",
    ),
    _KnownError(
        r"no kernel image is available",
        "this PyTorch is not built for this GPU",
        "the GPU is older or newer than those that the build supports",
        "install a build that supports this GPU: https://pytorch.org/get-started",
    ),
    _KnownError(
        r"busy or unavailable",
        "the GPU is in use",
        "a different process has exclusive access to the GPU",
        "nvidia-smi shows which process uses the GPU",
    ),
    _KnownError(
        r"cudaGetDeviceCount|CUDA unknown error|CUDA initialization",
        "CUDA does not start",
        "driver, GPU and PyTorch are not compatible",
        "load or update the driver; nvidia-smi must list the GPU",
    ),
    _KnownError(
        rf"CUDA error(?: \d+)?: (?:{_FATAL})",
        "the GPU failed",
        "a kernel failed or the hardware is defective; this process cannot use the GPU any more",
        "try again; if it fails again, CUDA_LAUNCH_BLOCKING=1 shows the call, and dmesg the messages of the driver",
    ),
)


def explain(error: BaseException) -> Optional[SimulatorError]:
    """Return an error that explains what is wrong with the GPU; None if `error` is not about the GPU.

    Args:
      error: an exception of PyTorch or Warp. Their types do not distinguish these errors, so only the text counts.
    """
    if isinstance(error, MapushError):
        return None
    text = str(error)
    for known in _KNOWN_ERRORS:
        found = re.search(known.pattern, text)
        if found:
            return SimulatorError(
                known.what.format(*found.groups()),
                got=textwrap.shorten(text.splitlines()[0], 160, placeholder=" ..."),
                cause=known.cause,
                fix=known.fix.format(*found.groups()),
            )
    return None


@contextlib.contextmanager
def gpu_errors(more_advice: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Explain errors of the GPU; all other errors pass unchanged.

    Args:
      more_advice: called only after an error of the GPU; returns what else to do about it, or "".

    Raises:
      SimulatorError: an error of the GPU; see `explain`.
    """
    try:
        yield
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        advice = more_advice()
        if advice:
            explained.fix = f"{explained.fix}; {advice}"
        raise explained from error


_hidden: Optional[str] = None


def hide_gpu(reason: Optional[str]) -> None:
    """Let `why_no_gpu` return an error with this text, although there may be a GPU; None ends that."""
    global _hidden
    _hidden = reason


def why_no_gpu() -> Optional[SimulatorError]:
    """Compute something on the current GPU and return the error that prevented it; None if it works.

    This imports torch.
    """
    if _hidden is not None:
        return SimulatorError(_hidden)
    import torch

    try:
        torch.ones(1, device="cuda").item()
    except (RuntimeError, AssertionError) as error:
        explained = explain(error)
        if explained is None:
            explained = SimulatorError("the GPU cannot be used", got=str(error).splitlines()[0])
        return explained
    return None
