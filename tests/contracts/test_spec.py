"""Contracts of specs and errors."""

from __future__ import annotations

import pytest
import torch

from mapush.errors import MapushError, NonFiniteError, SpecError, unknown
from mapush.spec import TensorSpec

pytestmark = pytest.mark.contracts

SPEC = TensorSpec("actions", ("num_envs", "num_agents", "action_dim"), (5, 2, 3), low=-1.0, high=1.0)


def test_spec_right_tensor_is_returned_unchanged():
    """A tensor that conforms is returned unchanged."""
    value = torch.zeros(5, 2, 3)
    assert SPEC.validate(value, "here") is value


@pytest.mark.parametrize(
    "value",
    [torch.zeros(2, 5, 3), torch.zeros(5, 2), torch.zeros(5, 2, 3).double(), torch.full((5, 2, 3), 1.5), [[0.0]]],
    ids=["transposed", "rank", "dtype", "bounds", "type"],
)
def test_spec_wrong_tensor_is_refused(value):
    """A wrong shape, type or range is an error with where, got and expected."""
    with pytest.raises(SpecError) as caught:
        SPEC.validate(value, "PushEnv.step")
    assert caught.value.where == "PushEnv.step"
    assert "num_envs=5, num_agents=2, action_dim=3" in caught.value.expected


def test_spec_transposed_tensor_says_so():
    """If the first two axes are swapped, the error says so."""
    with pytest.raises(SpecError) as caught:
        SPEC.validate(torch.zeros(2, 5, 3), "here")
    assert "swapped" in caught.value.fix


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_spec_non_finite_value_names_env_and_agent(bad):
    """The error gives the place of the first NaN or infinity."""
    value = torch.zeros(5, 2, 3)
    value[3, 1, 2] = bad
    with pytest.raises(NonFiniteError) as caught:
        SPEC.validate(value, "here")
    assert "num_envs 3, num_agents 1, action_dim 2" in caught.value.where


def test_error_renders_given_fields_only():
    """An error shows the problem first, then one line for each field that is set."""
    error = MapushError("it broke", where="there", fix="mend it")
    assert str(error).splitlines() == ["MapushError: it broke", "  where     there", "  fix       mend it"]


def test_unknown_name_suggests_the_closest_one():
    """The error names the kind and the closest valid name, if one is close, and lists all."""
    error = unknown("object", "cubiod", ["cylinder", "cuboid"])
    assert error.what == "unknown object 'cubiod'; did you mean 'cuboid'?"
    assert error.expected == "one of cuboid, cylinder"
    assert unknown("object", "zzz", ["cuboid"]).what == "unknown object 'zzz'"


def test_error_takes_a_wider_place():
    """A place can be appended to `where`, whether it is set or not."""
    error = MapushError("it failed")
    error.add_where("env 3")
    error.add_where("env step 7")
    assert error.where == "env 3, env step 7"
