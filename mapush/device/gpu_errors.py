"""What PyTorch, CUDA and Warp say when a GPU cannot be used or gives up, as errors of this package."""

from __future__ import annotations

import contextlib
import re
import textwrap
from typing import Callable, Iterator, NamedTuple, Optional

from mapush.errors import MapushError, SimulatorError


class _Trouble(NamedTuple):
    """A kind of trouble: how to recognise it, and what to say; groups of the pattern fill in what and fix."""

    pattern: str
    what: str
    cause: Optional[str]
    fix: str


_FATAL = (
    "an illegal memory access|device-side assert|unspecified launch failure|misaligned address|an illegal instruction|"
    "invalid program counter|hardware stack error|the launch timed out|uncorrectable"
)  # what ends every CUDA process; other errors of CUDA are errors of the program, which need their traceback

_TROUBLES = (  # the first that fits counts
    _Trouble(
        r"CUDA out of memory|error(?: 2)?: out of memory|_ALLOC_FAILED|^Failed to allocate \d+ bytes on .*cuda:\d+'$",
        "the memory of the GPU is full",
        "too many envs for this card or for --vram-limit, or others use the card",
        "lower --num-envs; nvidia-smi shows who else uses the card",
    ),
    _Trouble(
        r"not compiled with CUDA",
        "this PyTorch is built for the CPU alone",
        None,
        "install the build for your CUDA: https://pytorch.org/get-started",
    ),
    _Trouble(
        r"no NVIDIA driver|CUDA is not supported by the hardware or driver|Invalid device identifier: cuda",
        "there is no NVIDIA driver",
        "it is not installed, or a container was started without access to the GPU",
        "install it, or start the container with --gpus all; nvidia-smi must list the card",
    ),
    _Trouble(
        r"driver on your system is too old \(found version (\d+)0(\d)0\)",
        "the NVIDIA driver is too old: it knows CUDA {}.{}, this PyTorch needs a newer one",
        None,
        "update the driver, or install a PyTorch that is built for CUDA {}.{}",
    ),
    _Trouble(
        r"No CUDA GPUs are available",
        "CUDA sees no GPU",
        "there is none, or CUDA_VISIBLE_DEVICES hides it",
        "unset CUDA_VISIBLE_DEVICES; nvidia-smi must list the card",
    ),
    _Trouble(
        r"no kernel image is available",
        "this PyTorch is not built for this GPU",
        "the card is older or newer than the build",
        "install a build that knows it: https://pytorch.org/get-started",
    ),
    _Trouble(
        r"busy or unavailable",
        "the GPU is taken",
        "another process has it for itself",
        "nvidia-smi shows which one",
    ),
    _Trouble(
        r"cudaGetDeviceCount|CUDA unknown error|CUDA initialization",
        "CUDA does not start",
        "driver, card and PyTorch do not work together",
        "nvidia-smi must list the card; load or update the driver",
    ),
    _Trouble(
        rf"CUDA error(?: \d+)?: (?:{_FATAL})",
        "the GPU gave up",
        "a kernel went wrong or the card is defective; this process cannot use the GPU any more",
        "try again; if it comes back, CUDA_LAUNCH_BLOCKING=1 shows in which call, dmesg what the driver says",
    ),
)


def explain(error: BaseException) -> Optional[SimulatorError]:
    """Return an error that says what ails the GPU; None if `error` is not about the GPU.

    Args:
      error: as PyTorch or Warp raised it. They tell troubles apart by their text alone, so it is the text that counts.
    """
    text = str(error)
    if isinstance(error, MapushError):
        return None
    for trouble in _TROUBLES:
        found = re.search(trouble.pattern, text)
        if found:
            return SimulatorError(
                trouble.what.format(*found.groups()),
                got=textwrap.shorten(text.splitlines()[0], 160, placeholder=" ..."),
                cause=trouble.cause,
                fix=trouble.fix.format(*found.groups()),
            )
    return None


@contextlib.contextmanager
def gpu_errors(way_out: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Turn what ails the GPU into an error that says so; anything else passes as it is.

    Args:
      way_out: asked, if it comes to that, for more to do about it; "" for nothing.
    Raises:
      SimulatorError: see `explain`.
    """
    try:
        yield
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        explained.fix = "; ".join(filter(None, (explained.fix, way_out())))
        raise explained from error


def why_no_gpu() -> Optional[SimulatorError]:
    """Compute something on the present GPU; return what prevented it, None if it went well.

    This loads torch.
    """
    import torch

    try:
        torch.ones(1, device="cuda").item()
    except (RuntimeError, AssertionError) as error:
        return explain(error) or SimulatorError("the GPU cannot be used", got=str(error).splitlines()[0])
    return None
