"""`--gpus N|all`: start the ranks of a run on this machine, with the agent that torchrun uses.

The agent gives each rank a session of its own, so Ctrl-C reaches only this process, and the agent forwards it once.
When a rank ends with an error, the agent ends the others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
from typing import Any, Dict, Iterator, List, Optional, Sequence

from mapush.config import RunConfig, require_trainable
from mapush.distributed.failure_watch import print_error
from mapush.distributed.place import Place
from mapush.distributed.refusals import require_enough_gpus, require_supported, wants_gpu
from mapush.distributed.shares import require_even_shares
from mapush.errors import ConfigError

FLAG = "--gpus"
SAVE_S = 300  # for saving after a request to stop; then the agent kills
_TRAIN = ("-m", "mapush.train")


def number_of_ranks(text: str, config: RunConfig) -> int:
    """Return how many ranks `--gpus` asks for.

    Args:
      text: a number, or all.
      config: configuration of the run.

    Raises:
      ConfigError: not a number; more than there are GPUs; or all, without a GPU.
    """
    if text != "all" and not (text.isdecimal() and int(text) > 0):
        raise ConfigError("invalid number of GPUs", got=f"{FLAG} {text}", expected="a number above 0, or all")
    gpus = 0
    if wants_gpu(config):
        import torch

        gpus = torch.cuda.device_count()
    if text == "all":
        if gpus == 0:
            fix = f"{FLAG} 2 starts two processes on the CPU"
            raise ConfigError("no GPU to use", got=f"{FLAG} all", fix=fix)
        return gpus
    count = int(text)
    if gpus > 0:
        require_enough_gpus(count, gpus, f"{FLAG} {text}")
    require_supported(config, count)
    return count


def without_flag(words: Sequence[str]) -> List[str]:
    """Return a command line without --gpus and its value."""
    kept: List[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word == FLAG:
            skip = True
        elif not word.startswith(f"{FLAG}="):
            kept.append(word)
    return kept


def launch(words: Sequence[str], gpus: str, config: RunConfig, place: Optional[Place]) -> int:
    """Start the ranks that a command line asks for, and return the exit code of the job; see `run_ranks`.

    Args:
      words: the command line of the training.
      gpus: the value of --gpus.
      config: configuration of the run.
      place: this process in a job; None if it is the only one.

    Raises:
      ConfigError: an impossible number of ranks, or this process is a rank already.
    """
    if place is not None:
        got = f"{FLAG} in {place}"
        raise ConfigError("torchrun has already started the ranks", got=got, fix=f"leave out {FLAG}")
    count = number_of_ranks(gpus, config)
    require_trainable(config)
    require_even_shares(config, count)
    return run_ranks((*_TRAIN, *without_flag(words)), count)


def run_ranks(arguments: Sequence[str], count: int) -> int:
    """Start the ranks, wait for their end, and return the exit code of the job.

    Args:
      arguments: those of Python, such as -m mapush.train cuboid.
      count: how many ranks to start.

    Returns:
      0; 128 + the number of the signal that stopped the run; or the exit code of the first rank that failed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    os.environ.update(_environment(count))
    with _silent_agent(), tempfile.TemporaryDirectory(prefix="mapush-ranks-") as folder:
        agent = elastic_launch(_settings(count, folder), sys.executable)
        try:
            agent(*arguments)
        except ChildFailedError as error:
            return _exit_code(error.failures, count)
        except SignalException as error:
            return _after_signal(error.sigval, folder)
    return 0


@contextlib.contextmanager
def _silent_agent() -> Iterator[None]:
    """Let the agent log nothing: the ranks report their errors themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _settings(count: int, folder: str) -> Any:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"mapush-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port
        local_addr="127.0.0.1",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
    )


def _environment(count: int) -> Dict[str, str]:
    """Return the environment variables of the ranks that are not set here yet."""
    cores = os.cpu_count() or 1
    chosen = {
        "OMP_NUM_THREADS": str(max(1, cores // count)),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SAVE_S),
    }
    if sys.platform == "linux":
        chosen["GLOO_SOCKET_IFNAME"] = "lo"  # the name of this machine need not have an address
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _exit_code(failures: Dict[int, Any], count: int) -> int:
    """Return the exit code of the first rank that failed; report what a rank cannot say itself.

    Args:
      failures: by rank, as the agent saw them: those that it ended itself are among them.
      count: how many ranks there were.
    """
    explained = {rank: one for rank, one in failures.items() if os.path.isfile(one.error_file)}
    ended = {rank: one for rank, one in failures.items() if one.exitcode != -signal.SIGTERM}
    candidates = explained or ended or failures
    rank = min(candidates, key=lambda one: candidates[one].timestamp)
    failure = failures[rank]
    code = failure.exitcode
    if rank in explained:
        return code
    if code < 0:
        name = signal.Signals(-code).name
        print_error(f"rank {rank} of {count} was ended by {name} (process {failure.pid})")
        return 128 - code
    if code - 128 not in (signal.SIGINT, signal.SIGTERM):  # those have stopped on request
        print_error(f"rank {rank} of {count} ended with exit code {code} (process {failure.pid})")
    return code


def _after_signal(number: signal.Signals, folder: str) -> int:
    """Return the exit code after a signal to this process: that of the signal, unless a rank failed meanwhile."""
    for _, _, names in os.walk(folder):
        if "error.json" in names:
            return 2
    return 128 + number
