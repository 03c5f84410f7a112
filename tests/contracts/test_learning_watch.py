"""Contracts of the word when a run does not learn: it comes where it must, once, and never in a run that learns.

`golden/learned_*.csv` and `golden/failed_*.csv` are the logs of real runs on an H200 and on ten CPU cores: the presets
`gpu` (cuboid, tblock), `quick` and walk's `default`; and cuboid with `--happo.lr 0.03` and `--happo.entropy-coef -0.3`.
The thresholds were chosen on these. `golden/unseen_*.csv` are logs of real runs that were made afterwards, on toys that
had played no part in the choice: two robots that meet, reach goals, or stay at the origin.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from mapush.presets import own_env, preset
from mapush.run.learning_watch import LearningWatch
from mapush.run.logger import RunLogger

pytestmark = pytest.mark.contracts

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[2] / "docs"
LEARNED = (("cuboid", "gpu"), ("quick", "quick"), ("tblock", "gpu"), ("walk", "default"))
ROWS = 200


def rows_of(name):
    """Return the rows of a recorded run."""
    with (GOLDEN / f"{name}.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def warnings_of(config, rows):
    """Return everything that is said about the rows of a run."""
    watch, said = LearningWatch(config), []
    for row in rows:
        said += watch.look(int(row["step"]), row)
    return said


def course(seed=0, **columns):
    """Return rows of a run that does not learn, except for the columns that are given as functions of its share."""
    noise = np.random.default_rng(seed)
    rows = []
    for index in range(1, ROWS + 1):
        share = index / ROWS
        row = {
            "step": index * 1000,
            "reward/total": -0.5 + 0.02 * noise.standard_normal(),
            "episode/return": -25.0 + noise.standard_normal(),
            "train/std": 0.7,
            "train/approx_kl": 0.02,
            "train/explained_variance": 0.8,
        }
        for name, value in columns.items():
            row[name.replace("__", "/")] = value(share)
        rows.append(row)
    return rows


CONFIG = own_env("own", total_steps=ROWS * 1000)


UNSEEN = {  # name: settings of the run, and the first words of what must be said
    "rendezvous": (dict(total_steps=150_000), []),
    "chase": (dict(total_steps=150_000), []),
    "sparse": (dict(total_steps=150_000), []),
    "hold": (dict(total_steps=70_000), []),
    "rendezvous_rate_x100": (dict(total_steps=70_000), ["the updates are too large"]),
    "hold_rate_x100": (dict(total_steps=70_000), ["the updates are too large", "the reward has not risen"]),
    "chase_no_reward": (dict(total_steps=70_000), ["the reward has not risen"]),
    "hold_noise": (dict(total_steps=70_000), ["the reward has not risen"]),
}


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_runs_that_the_thresholds_have_not_seen(name):
    """Toys that learn get no warning; a learning rate x 100, no reward, and a reward that is noise get theirs."""
    changes, expected = UNSEEN[name]
    said = warnings_of(own_env("own", **changes), rows_of(f"unseen_{name}"))
    assert len(said) == len(expected)
    for line, words in zip(said, expected):
        assert words in line


@pytest.mark.parametrize("name, preset_name", LEARNED)
def test_recorded_runs_that_learned_get_no_warning(name, preset_name):
    """Neither over the length that they had, nor as the beginning of a run three times as long."""
    rows = rows_of(f"learned_{name}")
    task = name
    if name == "quick":
        task = "cuboid"
    for length in (1, 3):
        config = dataclasses.replace(preset(task, preset_name), total_steps=length * int(rows[-1]["step"]))
        assert warnings_of(config, rows) == []


def test_curves_in_the_documentation_get_no_warning():
    """The success curves of the documented runs are curves of runs that learn."""
    runs = {}
    with (DOCS / "cuboid-curve.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            numbers = {"step": float(row["env_steps"]), "episode/success": float(row["success_rate"])}
            runs.setdefault(row["run"], []).append(numbers)
    assert len(runs) > 2
    for rows in runs.values():
        assert warnings_of(preset("cuboid"), rows) == []


@pytest.mark.parametrize(
    "name, says",
    [("failed_learning_rate", "--happo.lr (now 0.0007)"), ("failed_entropy", "--happo.entropy-coef (now 0.003)")],
)
def test_recorded_runs_that_failed_get_one_warning_with_the_flag_to_change(name, says):
    """The kind is said once and in one line, with what to change and its present value."""
    said = warnings_of(preset("cuboid", "gpu"), rows_of(name))
    assert len(said) == 1
    assert says in said[0]
    assert said[0].startswith("warning: ")
    assert "Likely cause" in said[0]
    assert "\n" not in said[0]


@pytest.mark.parametrize("seed", range(20))
def test_reward_that_only_fluctuates_is_reported_once(seed):
    """After half of the run, white noise around a constant counts as a reward that never moved."""
    said = warnings_of(CONFIG, course(seed))
    assert len(said) == 1
    assert "the reward has not risen" in said[0]
    assert said[0].startswith("warning: 50% of the run is over")


def test_reward_that_is_always_zero_is_reported():
    """A reward that nothing ever triggers does not rise."""
    zero = dict.fromkeys(("reward__total", "episode__return", "episode__success"), lambda share: 0.0)
    nothing_to_explain = {"train__explained_variance": lambda share: math.nan}
    assert len(warnings_of(CONFIG, course(**zero, **nothing_to_explain))) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("column", ["reward__total", "episode__return", "episode__success"])
@pytest.mark.parametrize(
    "rise",
    [
        lambda share: share,  # from beginning to end
        lambda share: min(share / 0.05, 1.0),  # in the first tenth only
        lambda share: max(share - 0.25, 0.0),  # late
    ],
)
def test_run_of_which_one_number_rises_is_not_reported(column, rise, seed):
    """A rise of reward, return or success by five times the noise is enough, wherever in the first third it begins."""
    noise = np.random.default_rng(100 + seed)
    rows = course(seed, **{column: lambda share: rise(share) + 0.03 * noise.standard_normal()})
    assert warnings_of(CONFIG, rows) == []


def test_values_that_explain_nothing_are_reported():
    """50 rows of an explained variance below 0.05, in a run that has not improved."""
    said = warnings_of(CONFIG, course(train__explained_variance=lambda share: 0.02))
    assert sum("explained variance" in line for line in said) == 1
    assert "--happo.critic-lr (now 0.002)" in said[0]


@pytest.mark.parametrize("explained", [lambda share: share - 0.1, lambda share: math.nan])
def test_values_that_explain_something_later_or_have_nothing_to_explain_are_not_reported(explained):
    """The critic may need a tenth of the run, and constant returns say nothing about it."""
    said = warnings_of(CONFIG, course(train__explained_variance=explained))
    assert not any("explained variance" in line for line in said)


def test_large_kl_must_last():
    """Two large updates are an accident; three in a row are reported, and infinity counts."""
    accident = course(train__approx_kl=lambda share: 9.0 if round(share * ROWS) % 3 else 0.02)
    assert not any("KL" in line for line in warnings_of(CONFIG, accident))
    for kl in (0.6, math.inf):
        said = warnings_of(CONFIG, course(train__approx_kl=lambda share, kl=kl: kl * (share > 0.2)))
        assert sum("KL divergence" in line for line in said) == 1


def test_narrow_policy_that_succeeds_is_not_reported():
    """A policy that has learned may explore little; one that has not may not."""
    narrow = {"train__std": lambda share: 0.8 * 0.01**share}
    succeeds = {"episode__success": lambda share: share}
    assert warnings_of(CONFIG, course(**narrow, **succeeds)) == []
    assert any("stopped exploring" in line for line in warnings_of(CONFIG, course(**narrow)))


def test_log_says_it_once_also_after_a_resume(tmp_path, capsys):
    """The warning stands on the console and in `train.log`; a resumed run does not repeat it."""
    rows = course()
    for first, last in ((0, 120), (120, ROWS)):
        logger = RunLogger(tmp_path, CONFIG, step=first * 1000)
        for index in range(first, last):
            row = dict(rows[index], fps=100.0, episodes=0.0)
            logger.log(row.pop("step"), index + 1, row)
        logger.close()
    for text in (capsys.readouterr().out, (tmp_path / "train.log").read_text()):
        assert text.count("warning: ") == 1
