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
    """Call what the file `request` asks for and write what it returns to the file `answer`."""
    faulthandler.enable()
    with contextlib.suppress(AttributeError):  # a signal that this system lacks
        faulthandler.register(signal.SIGXCPU, chain=True)
    with open(request, "rb") as file:
        spawn.prepare(pickle.load(file))
        function, args, kwargs = pickle.load(file)
    result = pickle.dumps(function(*args, **kwargs))
    with open(answer + ".part", "wb") as file:
        file.write(result)
    os.replace(answer + ".part", answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
