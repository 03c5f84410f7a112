"""Compare with a recording: `python -m isaac_standin -- python examples/isaac/compare_fixture.py FILE.npz`.

The file comes from record_fixture.py beside this one, run on a real Isaac Gym. The exit code is 1 if something differs
by more than its tolerance.
"""

import argparse
import sys

import record_fixture  # imports isaacgym, so it must come before torch

import numpy as np  # isort: skip

POSITION, VELOCITY = slice(0, 7), slice(7, 13)
# what is compared: part of the recording, columns of its last axis, largest difference [m, rad, m/s, rad/s]
TENSORS = (
    ("air/root", POSITION, 0.002),
    ("air/root", VELOCITY, 0.05),
    ("air/body", POSITION, 0.002),
    ("air/body", VELOCITY, 0.05),
    ("air/dof", slice(0, 1), 0.002),
    ("air/dof", slice(1, 2), 0.05),
    ("rest/root", POSITION, 0.01),
    ("rest/root", VELOCITY, 0.05),
    ("rest/dof", slice(0, 1), 0.01),
    ("rest/dof", slice(1, 2), 0.05),
)
WEIGHT = 0.01  # of the sum of the contact forces at rest
PROPERTY = 1e-4  # of the largest value of a property


def rows_of_properties(theirs, ours):
    """Return a row (name, difference, tolerance) for each name, count, index and property."""
    rows = []
    for name in sorted(theirs):
        if name.split("/")[0] in ("air", "rest"):
            continue
        if name not in ours or theirs[name].shape != ours[name].shape:
            rows.append((name, np.inf, 0.0))
        elif theirs[name].dtype.kind in "USiub":
            rows.append((name, float(np.sum(theirs[name] != ours[name])), 0.0))
        else:
            finite = np.abs(theirs[name]) < 1e30  # an absent limit is a huge number, and not always the same
            difference = np.abs(theirs[name] - ours[name])[finite]
            largest = np.abs(theirs[name])[finite].max(initial=1e-9)
            rows.append((name, float(difference.max(initial=0.0) / largest), PROPERTY))
    return rows


def without_sign_of_quaternions(states):
    """Return states in which the last number of each quaternion is not negative: q and -q are the same rotation."""
    states = states.copy()
    if states.shape[-1] == 13:
        negative = states[..., 6] < 0.0
        states[negative, 3:7] *= -1.0
    return states


def rows_of_tensors(theirs, ours):
    """Return a row (name, difference, tolerance) for each tensor that was recorded while stepping."""
    rows = []
    for name, columns, tolerance in TENSORS:
        title = f"{name}[{columns.start}:{columns.stop}]"
        if theirs[name].shape != ours[name].shape:
            rows.append((title, np.inf, tolerance))
            continue
        difference = without_sign_of_quaternions(theirs[name]) - without_sign_of_quaternions(ours[name])
        rows.append((title, float(np.abs(difference[..., columns]).max()), tolerance))
    their_force = theirs["rest/contact"][..., 2].sum(axis=1).mean()
    our_force = ours["rest/contact"][..., 2].sum(axis=1).mean()
    rows.append(("rest/contact, sum", float(abs(our_force / their_force - 1.0)), WEIGHT))
    return rows


def main():
    """Record the same scene here, print each difference with its tolerance and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--sim_device", default="cpu")
    arguments = parser.parse_args()
    with np.load(arguments.file) as file:
        theirs = dict(file)
    ours = record_fixture.record(arguments.sim_device)
    wrong = 0
    for name, difference, tolerance in rows_of_properties(theirs, ours) + rows_of_tensors(theirs, ours):
        verdict = "ok"
        if not difference <= tolerance:
            verdict = "DIFFERS"
            wrong += 1
        print(f"{verdict:<8} {name:<28} {difference:.3g} (at most {tolerance:g})")
    print(f"{wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
