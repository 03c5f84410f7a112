"""Calls a function in a new Python process, with the surroundings that a contract chooses.

A process differs from the next one in its hashes, its id, the time, the number of threads and the folder in which it
runs. What must not depend on them is called in several processes that differ in them.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Callable, Dict, NamedTuple, Optional

from harness.findings import NotJudgedError
from harness.process.isolate import CHILD_CALL, can_isolate, run
from harness.process.limits import Limits

START_S = 2.0  # that a new process takes before it calls the function, about
GRACE_S = 60.0  # that it may take longer on a busy machine
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Surroundings(NamedTuple):
    """What is different in a new process, besides its id and the time.

    Attributes:
      hash_seed: seed of the hashes of texts, on which the order of a set depends.
      threads: number of threads of numerical libraries.
      folder: the current folder; None for that of this process.
    """

    hash_seed: int = 1
    threads: int = 1
    folder: Optional[str] = None

    def variables(self) -> Dict[str, str]:
        """Return the environment variables that make them so."""
        variables = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        variables["PYTHONHASHSEED"] = str(self.hash_seed)
        return variables


class Failed(Exception):
    """The process ended without an answer; the message says how."""


def call_fresh(function: Callable[..., Any], *args: Any, around: Surroundings, expected_s: float) -> Any:
    """Return what a function of a module returns in a new process.

    Args:
      function: the function; it is pickled like its arguments and its result.
      args: its positional arguments.
      around: the surroundings of the process.
      expected_s: how long the call should take [s]; it is ended if it takes much longer.

    Raises:
      NotJudgedError: nothing can be called in a new process here.
      Failed: the process died, the function raised, or it took too long.
    """
    work = _pickled((function, args, {}))
    preparation = spawn.get_preparation_data("fresh")
    for unwanted in ("authkey", "init_main_from_name", "init_main_from_path"):
        preparation.pop(unwanted, None)  # a secret, and the script of the user, which would run again
    if around.folder is not None:
        preparation["dir"] = around.folder
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request"), Path(folder, "answer")
        request.write_bytes(pickle.dumps(preparation) + work)
        command = [sys.executable, str(CHILD_CALL), str(request), str(answer)]
        limits = Limits(timeout=GRACE_S + 4.0 * expected_s)
        ending = run(command, limits, env=around.variables())
        if answer.is_file():
            return pickle.loads(answer.read_bytes())
    raise Failed(_last_words(str(ending)))


def _pickled(work: Any) -> bytes:
    """Return work for a new process as bytes.

    Raises:
      NotJudgedError: it cannot be told to a new process, or there are none on this system.
    """
    if not can_isolate():
        raise NotJudgedError("this system starts no process for it")
    try:
        pickled = pickle.dumps(work)
    except Exception as error:
        reason = type(error).__name__
        raise NotJudgedError(f"the factory cannot be built in a new process: pickling it raises {reason}") from error
    if b"__main__" in pickled:
        raise NotJudgedError("the factory cannot be built in a new process: it is part of the running script")
    return pickled


def _last_words(text: str) -> str:
    """Return the first line of a report, without what a line break would spoil."""
    return text.strip().splitlines()[0]
