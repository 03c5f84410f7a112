"""The process in which `harness.process.isolate.call` calls a function: `python child_call.py REQUEST ANSWER`."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
from multiprocessing import spawn


def main(request: str, answer: str) -> None:
    """Call the function that the file `request` names, and write what it returns to the file `answer`."""
    faulthandler.enable()
    with contextlib.suppress(AttributeError):  # Windows has neither the signal nor `register`
        faulthandler.register(signal.SIGXCPU, chain=True)
    with open(request, "rb") as file:
        spawn.prepare(pickle.load(file))
        function, args, kwargs = pickle.load(file)
    result = pickle.dumps(function(*args, **kwargs))
    part = f"{answer}.part"
    with open(part, "wb") as file:
        file.write(result)
    os.replace(part, answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
