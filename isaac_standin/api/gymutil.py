"""`isaacgym.gymutil`: command line, configurations, and lines to draw in the viewer."""

from __future__ import annotations

import argparse
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from isaac_standin.api.callers import caller_place
from isaac_standin.api.enums import SIM_FLEX, SIM_PHYSX
from isaac_standin.api.fields import Record
from isaac_standin.api.options import SimParams
from isaac_standin.api.values import Transform, Vec3
from isaac_standin.errors import StandinError

YELLOW = (1.0, 1.0, 0.0)
RED, GREEN, BLUE = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def parse_device_str(device_str: str) -> tuple[str, int]:
    """Return kind ("cuda" or "cpu") and number of a device such as "cuda:1", "cuda", "gpu" or "cpu"."""
    kind, _, number = str(device_str).lower().partition(":")
    if kind == "gpu":
        kind = "cuda"
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise StandinError(
            f"unknown device {device_str!r}", where=caller_place(), expected="cpu, cuda, cuda:0, cuda:1 and so on"
        )
    return kind, int(number or 0)


def parse_sim_config(sim_cfg: Any, sim_options: SimParams) -> None:
    """Set the settings that a configuration names; entries that are no settings are ignored, as in Isaac Gym.

    Args:
      sim_cfg: a dictionary, with dictionaries `physx` and `flex` in it.
      sim_options: the settings to change.
    """
    _set_entries(sim_cfg, sim_options)


def _set_entries(config: Any, options: Record) -> None:
    entries = config
    if not isinstance(config, Mapping):
        entries = vars(config)
    for name, value in entries.items():
        if name not in options.fields_:
            continue
        old = getattr(options, name)
        if isinstance(old, Vec3) and isinstance(value, Sequence):
            setattr(options, name, Vec3(*value))
        elif isinstance(old, Record) and not isinstance(value, Record):
            _set_entries(value, old)
        else:
            setattr(options, name, value)


def parse_arguments(
    description: str = "Isaac Gym Example",
    headless: bool = False,
    no_graphics: bool = False,
    custom_parameters: Sequence[dict[str, Any]] = (),
) -> argparse.Namespace:
    """Return the arguments of the command line.

    Args:
      description: for --help.
      headless: whether to offer --headless.
      no_graphics: whether to offer --nographics, which implies --headless.
      custom_parameters: more arguments, each with `name`, `type` or `action`, and perhaps `default` and `help`.
    """
    parser = argparse.ArgumentParser(description=description, conflict_handler="resolve")
    if headless:
        parser.add_argument("--headless", action="store_true", help="open no window")
    if no_graphics:
        parser.add_argument("--nographics", action="store_true", help="no graphics at all; implies --headless")
    parser.add_argument("--sim_device", default="cuda:0", help="device of the physics (cpu, cuda:0, ...)")
    parser.add_argument("--pipeline", default="gpu", help="where the tensors live: cpu or gpu")
    parser.add_argument("--graphics_device_id", type=int, default=0, help="number of the GPU that draws")
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument("--flex", action="store_true", help="use Flex")
    engine.add_argument("--physx", action="store_true", help="use PhysX (the default)")
    parser.add_argument("--num_threads", type=int, default=0, help="threads of PhysX on the CPU")
    parser.add_argument("--subscenes", type=int, default=0, help="subscenes of PhysX on the CPU")
    parser.add_argument("--slices", type=int, help="threads that each have a part of the envs")
    for parameter in custom_parameters:
        _add_parameter(parser, parameter)
    return _completed(parser.parse_args())


def _add_parameter(parser: argparse.ArgumentParser, parameter: dict[str, Any]) -> None:
    """Add an argument of the program's."""
    if "name" not in parameter or not ("type" in parameter or "action" in parameter):
        raise StandinError(
            "a custom parameter of gymutil.parse_arguments is incomplete",
            where=caller_place(),
            got=repr(parameter),
            expected="a dictionary with name, type or action, and perhaps default and help",
        )
    known = {"help": ""}
    for key in ("type", "action", "default", "help"):
        if key in parameter:
            known[key] = parameter[key]
    if "type" in known:
        known.pop("action", None)
    parser.add_argument(parameter["name"], **known)  # type: ignore[arg-type]


def _completed(args: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments with what follows from them."""
    args.sim_device_type, args.compute_device_id = parse_device_str(args.sim_device)
    pipeline = args.pipeline.lower()
    if pipeline not in ("cpu", "gpu", "cuda"):
        raise StandinError(f"unknown pipeline {args.pipeline!r}", where="--pipeline", expected="cpu or gpu")
    args.use_gpu_pipeline = pipeline != "cpu"
    if args.sim_device_type != "cuda" and args.flex:
        print("Flex needs a GPU: the simulation uses cuda:0")
        args.sim_device = "cuda:0"
        args.sim_device_type, args.compute_device_id = parse_device_str(args.sim_device)
    if args.sim_device_type != "cuda" and args.use_gpu_pipeline:
        print("The simulation runs on the CPU: so do the tensors (--pipeline cpu)")
        args.pipeline = "CPU"
        args.use_gpu_pipeline = False
    args.physics_engine = SIM_PHYSX
    if args.flex:
        args.physics_engine = SIM_FLEX
    args.use_gpu = args.sim_device_type == "cuda"
    if getattr(args, "nographics", False):
        args.headless = True
    if args.slices is None:
        args.slices = args.subscenes
    return args


def _indent_xml(element: ElementTree.Element, level: int = 0) -> None:
    """Indent an XML tree; a program of IsaacGymEnvs uses it."""
    ElementTree.indent(element, level=level)


class LineGeometry:
    """Lines to draw; programs may derive from it."""

    def vertices(self) -> Any:
        """Return the ends of the lines: an array (lines, 2) of `Vec3.dtype`."""
        raise NotImplementedError(f"{type(self).__name__} does not define vertices()")

    def colors(self) -> Any:
        """Return the colours of the lines, from 0 to 1: an array (lines,) of `Vec3.dtype`."""
        raise NotImplementedError(f"{type(self).__name__} does not define colors()")

    def num_lines(self) -> int:
        """Return the number of lines."""
        return int(self.vertices().size // 2)

    def instance_verts(self, pose: Optional[Transform] = None) -> Any:
        """Return the ends of the lines, moved to a pose."""
        if pose is None:
            return np.copy(self.vertices())
        return pose.transform_points(self.vertices())


class _FixedLines(LineGeometry):
    """Lines that are computed once."""

    def __init__(self, ends: Any, colors: Any, pose: Optional[Transform]) -> None:
        self.verts = _vectors(ends)
        if pose is not None:
            self.verts = pose.transform_points(self.verts)
        self._colors = _vectors(colors)

    def vertices(self) -> Any:
        """Return the ends of the lines."""
        return self.verts

    def colors(self) -> Any:
        """Return the colours of the lines."""
        return self._colors


def _vectors(numbers: Any) -> Any:
    """Return an array (..., 3) as one of `Vec3.dtype` (...)."""
    return np.ascontiguousarray(numbers, dtype=np.float32).view(Vec3.dtype)[..., 0]


class AxesGeometry(_FixedLines):
    """The axes of a frame: x red, y green, z blue, of length `scale` [m]."""

    def __init__(self, scale: float = 1.0, pose: Optional[Transform] = None) -> None:
        ends = np.zeros((3, 2, 3))
        ends[:, 1] = scale * np.eye(3)
        super().__init__(ends, [RED, GREEN, BLUE], pose)


class WireframeBoxGeometry(_FixedLines):
    """The twelve edges of a box of sizes `xdim`, `ydim`, `zdim` [m]."""

    def __init__(
        self,
        xdim: float = 1.0,
        ydim: float = 1.0,
        zdim: float = 1.0,
        pose: Optional[Transform] = None,
        color: Optional[Sequence[float]] = None,
    ) -> None:
        half = np.array([xdim, ydim, zdim]) / 2
        _draw_box(self, -half, half, pose, color)


class WireframeBBoxGeometry(_FixedLines):
    """The twelve edges of a box, given by its lowest and highest corner."""

    def __init__(self, bbox: Any, pose: Optional[Transform] = None, color: Optional[Sequence[float]] = None) -> None:
        lowest, highest = np.asarray(bbox, dtype=np.float64)
        _draw_box(self, lowest, highest, pose, color)


def _draw_box(
    lines: _FixedLines, low: Any, high: Any, pose: Optional[Transform], color: Optional[Sequence[float]]
) -> None:
    """Fill in the edges of a box: each joins two corners that differ along one axis."""
    ends = []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        for at_first in (low, high):
            for at_second in (low, high):
                start = np.array(low)
                start[first], start[second] = at_first[first], at_second[second]
                end = np.array(start)
                end[axis] = high[axis]
                ends.append((start, end))
    _FixedLines.__init__(lines, ends, [color or RED] * len(ends), pose)


class WireframeSphereGeometry(_FixedLines):
    """Circles of latitude and of longitude on a sphere, `color` and `color2`; the poles lie along z."""

    def __init__(
        self,
        radius: float = 1.0,
        num_lats: int = 8,
        num_lons: int = 8,
        pose: Optional[Transform] = None,
        color: Optional[Sequence[float]] = None,
        color2: Optional[Sequence[float]] = None,
    ) -> None:
        color = color or YELLOW
        color2 = color2 or color
        polar = np.linspace(0.0, math.pi, num_lats + 1)[:, None]
        around = np.linspace(0.0, 2 * math.pi, num_lons + 1)[None, :]
        x = np.sin(polar) * np.cos(around)
        y = np.sin(polar) * np.sin(around)
        z = np.cos(polar) * np.ones_like(around)
        points = radius * np.stack([x, y, z], axis=-1)
        meridians = np.stack([points[:-1, :-1], points[1:, :-1]], axis=2).reshape(-1, 2, 3)
        parallels = np.stack([points[1:-1, :-1], points[1:-1, 1:]], axis=2).reshape(-1, 2, 3)
        ends = np.concatenate([parallels, meridians])
        colors = [color] * len(parallels) + [color2] * len(meridians)
        super().__init__(ends, colors, pose)


def draw_lines(geom: LineGeometry, gym: Any, viewer: Any, env: Any, pose: Optional[Transform]) -> None:
    """Draw lines at a pose in the viewer."""
    gym.add_lines(viewer, env, geom.num_lines(), geom.instance_verts(pose), geom.colors())


def draw_line(p1: Vec3, p2: Vec3, color: Vec3, gym: Any, viewer: Any, env: Any) -> None:
    """Draw one line in the viewer."""
    ends = _vectors([[(p1.x, p1.y, p1.z), (p2.x, p2.y, p2.z)]])
    colors = _vectors([(color.x, color.y, color.z)])
    gym.add_lines(viewer, env, 1, ends, colors)
