"""Settings, configurations, the command line, and tensors that go into and out of the API."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from isaac_standin.api import enums, gymtorch, gymutil
from isaac_standin.api.options import AssetOptions, SimParams
from isaac_standin.api.values import Quat, Transform, Vec3
from isaac_standin.errors import StandinError

pytestmark = pytest.mark.mujoco

CONFIG = {
    "dt": 0.004,
    "substeps": 3,
    "gravity": [0.0, 0.0, -9.81],
    "up_axis": 1,
    "no_camera": True,
    "physx": {"max_gpu_contact_pairs": 2**23, "contact_collection": 1, "some_other_key": 5},
}


def here():
    """Return the line that calls this function."""
    return sys._getframe(1).f_lineno


def test_assignments_name_file_and_line():
    """Every change of a setting of PhysX is kept with its place, also `*=` and values from a configuration."""
    params = SimParams()
    gymutil.parse_sim_config(CONFIG, params)
    parsed = here() - 1
    params.physx.max_gpu_contact_pairs *= 5
    multiplied = here() - 1
    first, second = params.physx.assignments("max_gpu_contact_pairs")
    assert (first.old, first.new, first.file, first.line) == (2**20, 2**23, __file__, parsed)
    assert (second.old, second.new, second.file, second.line) == (2**23, 5 * 2**23, __file__, multiplied)
    assert params.physx.assignments("default_buffer_size_multiplier") == []
    with pytest.raises(AttributeError, match="max_gpu_contact_pairs"):
        params.physx.assignments("max_gpu_contact_pair")


def test_configuration_is_read():
    """Known keys are set, nested ones too; unknown keys are ignored."""
    params = SimParams()
    gymutil.parse_sim_config(CONFIG, params)
    assert params.substeps == 3
    assert params.dt == pytest.approx(0.004)
    assert (params.gravity.y, params.gravity.z) == (0.0, pytest.approx(-9.81))
    assert params.up_axis is enums.UP_AXIS_Z
    assert params.physx.contact_collection is enums.CC_LAST_SUBSTEP


def test_configuration_of_classes_is_read():
    """A class inside a dictionary works, too: `vars(cfg.sim)` is such a dictionary."""

    class Sim:
        substeps = 4

        class physx:  # noqa: N801
            solver_type = 0

    params = SimParams()
    gymutil.parse_sim_config(vars(Sim), params)
    assert params.substeps == 4
    assert params.physx.solver_type == 0


def test_public_defaults():
    """Defaults that public code states."""
    options, params = AssetOptions(), SimParams()
    stated = {"density": 1000.0, "angular_damping": 0.5, "linear_damping": 0.0, "max_angular_velocity": 64.0}
    for name, value in stated.items():
        assert getattr(options, name) == value
    assert options.thickness == pytest.approx(0.02)
    assert params.physx.max_gpu_contact_pairs == 1024**2
    assert params.physx.default_buffer_size_multiplier == 1.0
    assert params.physx.contact_offset == pytest.approx(0.02)


@pytest.mark.parametrize(
    "text, expected", [("cpu", ("cpu", 0)), ("cuda:3", ("cuda", 3)), ("cuda", ("cuda", 0)), ("GPU:1", ("cuda", 1))]
)
def test_device_names(text, expected):
    """Devices are read as torch names them."""
    assert gymutil.parse_device_str(text) == expected


@pytest.mark.parametrize("text", ["tpu", "cuda:x", ""])
def test_unknown_devices_are_refused(text):
    """An unknown device is an error."""
    with pytest.raises(StandinError, match="unknown device"):
        gymutil.parse_device_str(text)


def test_command_line(monkeypatch):
    """The physics on the CPU has its tensors there; parameters of the program are added, and may replace ours."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--sim_device=cpu", "--num_envs", "7", "--subscenes", "2"])
    parameters = [
        {"name": "--headless", "action": "store_true", "default": False, "help": "no window"},
        {"name": "--num_envs", "type": int, "help": "envs"},
        {"name": "--num_threads", "type": int, "default": 9},
    ]
    args = gymutil.parse_arguments(description="test", headless=True, custom_parameters=parameters)
    assert (args.sim_device_type, args.compute_device_id, args.use_gpu_pipeline, args.use_gpu) == (
        "cpu",
        0,
        False,
        False,
    )
    assert (args.num_envs, args.num_threads, args.subscenes, args.slices) == (7, 9, 2, 2)
    assert args.physics_engine is enums.SIM_PHYSX
    assert args.headless is False


def test_command_line_defaults(monkeypatch):
    """Without arguments: PhysX and the tensors on the first GPU."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    args = gymutil.parse_arguments()
    assert (args.sim_device, args.use_gpu_pipeline, args.use_gpu, args.graphics_device_id) == ("cuda:0", True, True, 0)


def test_incomplete_parameters_are_refused(monkeypatch):
    """A custom parameter without type or action is an error."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(StandinError, match="incomplete"):
        gymutil.parse_arguments(custom_parameters=[{"name": "--seed"}])


class Recorder:
    """Stands for `Gym`: keeps the lines."""

    def add_lines(self, viewer, env, count, vertices, colors):
        """Keep the lines."""
        self.lines = (count, vertices, colors)


def coordinates(rows):
    """Return an array of `Vec3.dtype` with a last dimension of three numbers."""
    return np.stack([rows["x"], rows["y"], rows["z"]], axis=-1)


def test_sphere_is_drawn_where_it_is():
    """All vertices of a wireframe sphere lie on it, and it has a colour for each line."""
    gym = Recorder()
    geometry = gymutil.WireframeSphereGeometry(0.02, 4, 3, None, color=(1, 1, 0))
    gymutil.draw_lines(geometry, gym, None, None, Transform(Vec3(1, 2, 3), r=None))
    count, vertices, colors = gym.lines
    assert vertices.shape == (count, 2)
    assert colors.shape == (count,)
    radii = np.linalg.norm(coordinates(vertices) - [1, 2, 3], axis=-1)
    np.testing.assert_allclose(radii, 0.02, atol=1e-6)


def test_axes_are_drawn_turned():
    """Axes have the colours red, green, blue, and turn with the pose."""
    quarter = Quat.from_axis_angle(Vec3(0, 0, 1), np.pi / 2)
    ends = coordinates(gymutil.AxesGeometry(scale=0.5).instance_verts(Transform(Vec3(), quarter)))
    np.testing.assert_allclose(ends[:, 1], [[0, 0.5, 0], [-0.5, 0, 0], [0, 0, 0.5]], atol=1e-6)
    np.testing.assert_allclose(coordinates(gymutil.AxesGeometry().colors()), np.eye(3))


def test_box_has_twelve_edges():
    """The edges of a box: four of each size, around its centre."""
    ends = coordinates(gymutil.WireframeBoxGeometry(2, 4, 6).vertices())
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
    assert sorted(lengths) == [2] * 4 + [4] * 4 + [6] * 4
    assert len({tuple(point) for point in ends.reshape(-1, 3)}) == 8
    np.testing.assert_allclose(np.abs(ends), np.broadcast_to([1, 2, 3], ends.shape))


def test_wrap_gives_the_very_storage():
    """What is written into a wrapped tensor is in the tensor of the simulation."""
    state = torch.zeros(3, 13)
    wrapped = gymtorch.wrap_tensor(gymtorch.GymTensor(state))
    wrapped[2, 5] = 4.0
    assert state[2, 5] == 4.0
    assert wrapped.data_ptr() == state.data_ptr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_unwrap_keeps_the_tensor(dtype):
    """Contiguous tensors of 32 bits pass, without a copy."""
    tensor = torch.zeros(5, 2, dtype=dtype)
    unwrapped = gymtorch.unwrap_tensor(tensor)
    assert unwrapped.data_address == tensor.data_ptr()
    assert unwrapped.shape == (5, 2)


@pytest.mark.parametrize(
    "value, complaint",
    [
        (torch.zeros(4, 6)[:, :2], "contiguous"),
        (torch.zeros(4, dtype=torch.float64), "type of elements"),
        (torch.zeros(4, dtype=torch.int64), "type of elements"),
        (np.zeros(4, dtype=np.float32), "torch tensors only"),
    ],
)
def test_unwrap_refuses(value, complaint):
    """Other tensors are refused with the line that passed them."""
    with pytest.raises(StandinError, match=complaint) as caught:
        gymtorch.unwrap_tensor(value)
    assert caught.value.where == f"{__file__}:{here() - 1}"


def test_wrap_refuses_torch_tensors():
    """`wrap_tensor` takes only what `Gym` returned."""
    with pytest.raises(StandinError, match="no tensor of the simulation"):
        gymtorch.wrap_tensor(torch.zeros(2))
