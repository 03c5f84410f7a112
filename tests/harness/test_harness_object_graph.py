"""What can be reached from an object: the walk, the entry counts and the settings of objects written by hand."""

from __future__ import annotations

import collections
import types

import numpy as np
import pytest

from harness.object_graph import measure, settings, walk

pytestmark = pytest.mark.harness

KEPT_BY_THE_MODULE = [1, 2, 3]


class Slotted:
    """An object without a dict."""

    __slots__ = ("rows", "empty")

    def __init__(self):
        self.rows = [0] * 11


class Env:
    """An object with attributes of every kind."""

    of_the_class = {"a": 1, "b": [1, 2]}
    limit = 12.5

    def __init__(self):
        self.text, self.raw = "seven..", b"12345"
        self.array = np.zeros((3, 4))
        self.nested = {"one": [[1, 2], (3,)], "two": {5}}
        self.bounded = collections.deque([1, 2, 3], maxlen=9)
        self.unbounded = collections.deque([1, 2, 3, 4])
        self.slotted = Slotted()
        self.itself = self
        self.number = 3
        rows = [0] * 13
        self.closure = lambda: rows
        self.method = self.unbounded.append
        self.bound = self.look

    def look(self):
        """Do nothing."""


def entries(path, value):
    """Return the entries of lists and dicts, with the path that leads to each."""
    if isinstance(value, dict):
        return [(f"{path}.{name}", entry) for name, entry in value.items()]
    if isinstance(value, list):
        return [(f"{path}[{index}]", entry) for index, entry in enumerate(value)]
    return []


def is_number(value):
    """Return whether a value is an int."""
    return isinstance(value, int)


def test_walk_yields_each_object_once_under_its_shortest_path_and_leaves_every_time():
    """An object that is reached in two ways, or that holds itself, is looked into once."""
    shared = [7]
    root = {"deep": [[shared]], "near": shared}
    root["itself"] = root
    found = list(walk(root, "root", entries, is_leaf=is_number))
    assert [path for path, _ in found] == ["root", "root.deep", "root.near", "root.deep[0]", "root.near[0]"]
    assert found[2][1] is shared
    assert [path for path, _ in walk([7, 7], "x", entries, is_leaf=is_number)] == ["x", "x[0]", "x[1]"]


def test_walk_excludes_objects_and_what_only_they_lead_to_but_never_the_root():
    """An excluded object belongs to somebody else."""
    other = [[1]]
    root = [other, [2]]
    found = [path for path, _ in walk(root, "r", entries, is_leaf=is_number, excluded=[id(other), id(root)])]
    assert found == ["r", "r[1]", "r[1][0]"]


def test_walk_counts_objects_with_one_key_as_one():
    """Two views of one memory are one object."""
    found = [path for path, _ in walk([[1, 2], [1, 2], [3]], "r", entries, is_leaf=is_number, key=str)]
    assert found == ["r", "r[0]", "r[2]", "r[0][0]", "r[0][1]", "r[2][0]"]


@pytest.mark.parametrize(
    "bounds, expected",
    [
        ({"max_objects": 3}, ["r", "r[0]", "r[1]"]),
        ({"max_objects": 3, "excluded": [1]}, ["r", "r[0]", "r[1]"]),
        ({"max_depth": 0}, ["r"]),
        ({"max_depth": 1}, ["r", "r[0]", "r[1]"]),
        ({"max_depth": 2}, ["r", "r[0]", "r[1]", "r[0][0]", "r[1][0]"]),
    ],
)
def test_walk_stops_at_its_bounds(bounds, expected):
    """A bound on objects ends the walk; a bound on depth ends it in one direction."""
    root = [[[[]]], [[[]]]]
    assert [path for path, _ in walk(root, "r", entries, **bounds)] == expected


def test_walk_labels_are_whatever_the_parts_are_given():
    """A label may carry more than a path, such as a weight."""

    def halves(label, value):
        return [((label[0] + 1, label[1] / len(value)), part) for part in value]

    found = [label for label, _ in walk([["a"], ["b"]], (0, 1.0), halves, is_leaf=lambda value: type(value) is str)]
    assert found == [(0, 1.0), (1, 0.5), (1, 0.5), (2, 0.5), (2, 0.5)]


def test_measure_counts_what_is_kept_by_its_path():
    """Each container, array and text counts its entries once, under the path of the outermost container."""
    torch = pytest.importorskip("torch")
    env = Env()
    env.tensor = torch.zeros(2, 5, 3)
    counts = measure(env)
    expected = {
        "env.text": 7,
        "env.raw": 5,
        "env.array": 12,
        "env.nested": 2 + 2 + 2 + 1 + 1,  # the dict, its list, that list's list and tuple, and the set
        "env.unbounded": 4,
        "env.slotted.rows": 11,
        "env.closure": 13,
        "env.tensor": 30,
        "Env.of_the_class": 2 + 2,
        __name__ + ".KEPT_BY_THE_MODULE": 3,
    }
    assert {path: counts.get(path) for path in expected} == expected
    assert "env.bounded" not in counts
    assert not any("__" in path for path in counts)


def test_measure_looks_into_a_bounded_deque_and_an_unset_cell():
    """The content of a bounded deque may grow by itself, and an unbound name is ignored."""

    def outer():
        def inner():
            return later

        return inner
        later = 1  # noqa: F841

    env = types.SimpleNamespace(last=collections.deque([[1, 2, 3]], maxlen=4), function=outer())
    assert measure(env)["env.last"] == 3


def test_measure_of_a_bounded_deque_does_not_grow_while_it_fills():
    """A record of the last episodes is bounded from its first entry on."""
    env = types.SimpleNamespace(last=collections.deque([[1, 2, 3]], maxlen=4))
    before = measure(env)
    env.last.append([4, 5, 6])
    assert measure(env) == before


def test_measure_ends_at_its_limit():
    """Only part of a huge object is measured."""
    env = types.SimpleNamespace(**{f"rows_{index}": [0] * 7 for index in range(50)})
    assert sum(path.startswith("env.rows") for path in measure(env, max_objects=4)) <= 3


def test_settings_are_the_numbers_that_are_set():
    """Attributes and named entries count, of the object and of its classes, but not zeros, flags, arrays or texts."""
    env = Env()
    env.config = {"dt": 0.02, "name": "x", "flag": True, 3: 4.0, "deep": {"count": np.int64(7), "zero": 0}}
    env.sub = types.SimpleNamespace(gain=np.float64(0.5), minus=-2.0, none=None, infinite=float("inf"), huge=2e300)
    found = settings(env)
    assert found == {
        "env.number": 3.0,
        "env.limit": 12.5,
        "env.of_the_class['a']": 1.0,
        "env.config['dt']": 0.02,
        "env.config['deep']['count']": 7.0,
        "env.sub.gain": 0.5,
        "env.sub.minus": -2.0,
    }
    assert all(type(value) is float for value in found.values())


def test_settings_are_looked_for_six_levels_deep():
    """A number seven levels down is not a setting, and an object that holds itself does not hang the search."""
    env = inner = types.SimpleNamespace(depth=1)
    for depth in range(2, 9):
        inner.sub = types.SimpleNamespace(depth=depth)
        inner = inner.sub
    env.itself = env
    assert sorted(settings(env).values()) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_settings_of_a_class_that_is_kept_as_a_value():
    """A settings class needs no instance; the settings of a foreign package do not count."""
    env = types.SimpleNamespace(cfg=Env, foreign=collections.OrderedDict, array=np.ones(3), call=lambda: 1)
    assert settings(env) == {"env.cfg.limit": 12.5, "env.cfg.of_the_class['a']": 1.0}
