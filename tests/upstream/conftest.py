"""MAPush's code on the stand-in for Isaac Gym, for the tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Return the folder of a copy of MAPush in which robots stand still."""
    from mapush_code import copy_checkout

    return copy_checkout(tmp_path_factory.mktemp("mapush"))


@pytest.fixture(scope="module")
def mapush_code(checkout):
    """Make MAPush's modules and the stand-in importable during the tests of a file."""
    from mapush_code import loaded

    with loaded(checkout):
        yield


@pytest.fixture(scope="module")
def wrapper_of(mapush_code):
    """Return a function that returns MAPush's frozen wrapper for an object; each is made once for a file."""
    from mapush_code import freeze, make_wrapper

    made = {}

    def get(name):
        if name not in made:
            made[name] = make_wrapper(name, NUM_ENVS)
            freeze(made[name])
        return made[name]

    return get


NUM_ENVS = 43
