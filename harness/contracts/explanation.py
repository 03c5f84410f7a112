"""Adds to a broken contract what its exception, the sizes and the user's own code tell about it."""

from __future__ import annotations

from typing import Optional

from harness.causes.cause import Cause
from harness.causes.known_errors import explain
from harness.causes.symptom import Symptom
from harness.causes.transposes import swap_below
from harness.contracts.env_under_test import EnvUnderTest
from harness.findings import ContractError
from harness.interface.own_code import home_of, innermost_own, last_return
from harness.interface.size_names import SWAPPED, explain_shapes
from harness.interface.spaces import Sizes

METHODS = {"spaces": "__init__", "close": "close", "reset-form": "reset"}  # which a contract is about; else step


def complete(error: ContractError, contract: str, subject: Optional[EnvUnderTest] = None) -> None:
    """Name the user's own line in a broken contract, and its cause and fix where they are known.

    Args:
      error: the broken contract; what it states already is kept.
      contract: the contract that was running.
      subject: the environment under test; None if there is none yet.
    """
    raised = _original(error)
    name = error.contract or contract
    if raised is None:
        if subject is not None:
            error.code = error.code or _line_that_returned(error, name, subject)
        return
    symptom = Symptom.of_exception(raised)
    home = []
    if subject is not None:
        home = home_of(subject.env_class, subject.make_env)
    error.code = error.code or innermost_own(symptom.frames, home)
    known = explain(symptom) or Cause()
    error.fix = error.fix or known.fix or None
    causes = [_shapes(error, symptom, subject), known.cause]
    if causes[0].endswith(SWAPPED):  # which is certain, while what is known of the message is only likely
        place = swap_below(symptom.frames)
        causes[1] = f"{place} transposes the actions" if place else ""
    error.cause = error.cause or "; ".join(filter(None, causes)) or None


def _shapes(error: ContractError, symptom: Symptom, subject: Optional[EnvUnderTest]) -> str:
    """Return which number of an error about shapes is which size of the environment that failed; "" if none is."""
    sizes: Optional[Sizes] = error.sizes
    if sizes is None and subject is not None:
        sizes = subject.known_sizes
    if sizes is None:
        return ""
    return explain_shapes(symptom.what, sizes) or ""


def _original(error: BaseException) -> Optional[BaseException]:
    """Return the exception that was found as a broken contract; None if no exception was."""
    found: Optional[BaseException] = error
    while isinstance(found, ContractError):
        found = found.__cause__
    return found


def _line_that_returned(error: ContractError, contract: str, subject: EnvUnderTest) -> Optional[str]:
    """Return the line of the user's code from which a value came that breaks a contract."""
    method = METHODS.get(contract, "step")
    if error.step == 0 and contract != "spaces":
        method = "reset"
    if contract == "factory" or subject.env_class is None:
        return last_return(subject.make_env)
    return last_return(subject.env_class, method)
