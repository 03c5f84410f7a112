"""The predicted memory of MuJoCo Warp is that of the arrays that it allocates."""

from __future__ import annotations

import collections

import mujoco_warp
import pytest
import warp

from mapush.objects import OBJECTS
from mapush.sim.contact_capacity import buffer_sizes
from mapush.sim.footprint import CONVEX_CONTACT, data_bytes, footprint
from mapush.sim.physics import Randomization
from mapush.sim.qpos_layout import draw_fields
from mapush.sim.scene import Scene, build_model

pytestmark = [pytest.mark.sim, pytest.mark.warp]


def name_of(scene):
    """Return the name of a scene for the ids of tests."""
    if scene.object is None:
        return "walk"
    return scene.object.name


SCENES = [Scene(item.num_agents, item) for item in OBJECTS.values()] + [Scene(1)]
NUM_WORLDS = 7


@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_permanent_arrays_are_those_of_the_data(scene):
    """The size that is extrapolated from one and two worlds is the size of the arrays of seven worlds."""
    nconmax, njmax = buffer_sizes(scene)
    model = build_model(scene, visuals=False)
    drawn = draw_fields(model, scene, NUM_WORLDS, 0, None)
    fields = sum(4 * values.size for name, values in drawn.items() if (values != getattr(model, name)).any())
    counted = footprint(scene, nconmax, njmax)
    expected = data_bytes(model, NUM_WORLDS, nconmax, njmax) + fields
    assert counted.fixed + NUM_WORLDS * counted.per_world == expected


def test_fields_that_differ_are_counted():
    """A scene whose masses differ from env to env takes more memory than one in which they do not."""
    plain, drawn = footprint(Scene(1), 16, 64), footprint(Scene(1), 16, 64, Randomization(payload=(-1.0, 3.0)))
    assert drawn.per_world > plain.per_world


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3)], ids=str)
@pytest.mark.parametrize("scene", SCENES, ids=name_of)
def test_scratch_is_the_peak_of_a_step(scene, sizes, monkeypatch):
    """The prediction is the largest amount of memory that a step allocates at one time."""
    nconmax, njmax = (factor * size for factor, size in zip(sizes, buffer_sizes(scene)))
    scratch = footprint(scene, nconmax, njmax).scratch_per_world
    assert NUM_WORLDS * scratch == pytest.approx(rehearse(scene, nconmax, njmax, monkeypatch), rel=0.01)


def rehearse(scene, nconmax, njmax, monkeypatch):
    """Take a step in which no kernel runs, and return the largest number of bytes that it allocates at one time."""
    model = build_model(scene, visuals=False)
    with warp.ScopedDevice("cpu") as device:
        m = mujoco_warp.put_model(model)
        d = mujoco_warp.make_data(model, nworld=NUM_WORLDS, nconmax=nconmax, njmax=njmax)
        for launch in ("launch", "launch_tiled", "capture_while"):
            monkeypatch.setattr(warp, launch, lambda *_, **__: None)
        meter = Meter(device.default_allocator)
        monkeypatch.setattr(device, "default_allocator", meter)
        mujoco_warp.step(m, d)
    return meter.peak


class Meter:
    """An allocator that records the largest total size of its allocations."""

    def __init__(self, allocator):
        self.allocator = allocator
        self.memory_kind = allocator.memory_kind
        self.deallocate_requires_context_guard = allocator.deallocate_requires_context_guard
        self.sizes = collections.Counter()
        self.peak = 0

    def allocate(self, size):
        """Return a pointer to `size` bytes."""
        pointer = self.allocator.allocate(size)
        self.sizes[pointer] = size
        self.peak = max(self.peak, sum(self.sizes.values()))
        return pointer

    def deallocate(self, pointer, size):
        """Release the bytes at `pointer`."""
        del self.sizes[pointer]
        self.allocator.deallocate(pointer, size)


def test_convex_contacts_take_most_of_the_cylinders_scratch():
    """Only the cylinder needs the general convex algorithm, which takes memory for each entry of the contact buffer."""
    cylinder, cuboid = SCENES[2], SCENES[0]
    assert footprint(cylinder, 31, 64).scratch_per_world == 31 * CONVEX_CONTACT
    assert footprint(cuboid, 31, 64).scratch_per_world == footprint(cuboid, 62, 64).scratch_per_world
