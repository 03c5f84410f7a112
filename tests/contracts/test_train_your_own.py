"""The example of an environment of one's own runs, and shows what it promises."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch

import mapush

pytestmark = pytest.mark.contracts

EXAMPLES = Path(mapush.__file__).resolve().parents[1] / "examples"


@pytest.fixture(autouse=True)
def one_thread():
    """Compute on one thread: the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load_example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_environment_is_learned_in_a_fraction_of_the_example(tmp_path, capsys):
    """A quarter of the example's training is enough for the return to rise, and the loaded policy acts."""
    example = load_example("train_your_own")
    assert example.main(["--total-steps", "15000", "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    first, last = re.search(r"return of an episode: (\S+) at first, (\S+) at the end", said).groups()
    assert float(last) > float(first) + 0.4
    apart, closer = re.search(r"a test: (\S+) m apart at the start, (\S+) m apart at the end", said).groups()
    assert float(closer) < float(apart)
