"""The measures of evaluation against MAPush's own lines, `openrl_ws/test.py --test_mode calculator`."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import pytest
import torch
from mapush_code import WEIGHTS, freeze, make_mqe, on_track, random_roots, write_roots

from mapush.config import TaskConfig
from mapush.env.metrics import FirstEpisodes
from mapush.objects import OBJECTS

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

NUM_ENVS = 31
MEASURES = ("success_rate", "finished_time", "collision_degree", "collaboration_degree")


def calculated_by_mapush(checkout, env):
    """Return each measure as MAPush's script calculates it from its environment."""
    tree = ast.parse(Path(checkout, "openrl_ws", "test.py").read_text(encoding="utf-8"))
    names = {"env": env, "torch": torch}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in MEASURES:
            exec(compile(ast.Module([node], []), "openrl_ws/test.py", "exec"), names)
    return {name: float(names[name]) for name in MEASURES}


def evaluated(name, seconds=0.0):
    """Return our measures and MAPush's environment after the first episode of each env, most by chance.

    Args:
      name: the object.
      seconds: let the first half of the envs take so long before anything can end [s].
    """
    mqe = make_mqe(TaskConfig(object=name, reward=WEIGHTS, upstream_quirks=True), NUM_ENVS)
    upstream, first = freeze(mqe._wrapper), FirstEpisodes(NUM_ENVS)
    generator = torch.manual_seed(21)
    mqe.reset()
    upstream.episode_length_buf[: NUM_ENVS // 2] += int(seconds / 0.02)
    while not first.complete:
        roots = random_roots(name, NUM_ENVS, generator)
        roots[::2, :-2, :2] = roots[::2, -2:-1, :2] + 0.3 * roots[::2, :-2, 7:9]  # these are often together
        roots[::2, 1:-2, 0] += 0.5
        calm = torch.rand(NUM_ENVS, generator=generator) < 0.8
        roots[calm, :-1, 2] = 0.3
        roots[calm, :-1, 3:7] = torch.tensor((0.0, 0.0, 0.0, 1.0))
        write_roots(upstream, on_track(roots, upstream.env_origins))
        transition = mqe.step(torch.zeros(NUM_ENVS, mqe.num_agents, 3))
        first.add(transition.done, transition.outcome)
    return first.metrics(), mqe


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_measures_equal_those_that_mapush_calculates(checkout, name):
    """Success, finished time, collision and collaboration degree of each env's first episode are equal."""
    metrics, mqe = evaluated(name)
    theirs = calculated_by_mapush(checkout, mqe._wrapper)
    assert 0.1 < theirs["success_rate"] < 0.95
    assert metrics.success_rate == pytest.approx(theirs["success_rate"])
    assert metrics.finished_time == pytest.approx(theirs["finished_time"], rel=1e-6)
    assert metrics.collision_degree == theirs["collision_degree"] == 0.0
    assert 0.0 < theirs["collaboration_degree"] < 1.0
    assert metrics.collaboration_degree == pytest.approx(theirs["collaboration_degree"])
    assert metrics.endings["collision"] + metrics.endings["fall"] > 0


def test_measures_of_long_episodes_equal_those_that_mapush_calculates(checkout):
    """An env that reaches the time limit counts the longest time."""
    metrics, mqe = evaluated("cuboid", seconds=20.0)
    theirs = calculated_by_mapush(checkout, mqe._wrapper)
    assert metrics.endings["timeout"] > 5
    assert metrics.finished_time == pytest.approx(theirs["finished_time"], rel=1e-6)
    assert theirs["finished_time"] > 10.0


def test_collaboration_degree_without_success_is_nan_in_both(checkout):
    """The mean over no episode is not a number."""
    mqe = make_mqe(TaskConfig(object="tblock", upstream_quirks=True), 5)
    upstream, first = freeze(mqe._wrapper), FirstEpisodes(5)
    mqe.reset()
    roots = on_track(random_roots("tblock", 5, torch.manual_seed(2)), upstream.env_origins)
    roots[:, -1, :2] = roots[:, -2, :2] + 4.0
    roots[:, 0, 2] = 2.0
    write_roots(upstream, roots)
    transition = mqe.step(torch.zeros(5, 2, 3))
    first.add(transition.done, transition.outcome)
    assert math.isnan(first.metrics().collaboration_degree)
    theirs = calculated_by_mapush(checkout, mqe._wrapper)
    assert math.isnan(theirs["collaboration_degree"])
    assert first.metrics().success_rate == theirs["success_rate"] == 0.0
    assert first.metrics().finished_time == pytest.approx(theirs["finished_time"])
