"""The parts of Isaac Gym's API that the stand-in does not have; each raises `NotSupported` with its name.

There are three kinds, and none returns zeros:

- `METHODS` of `Gym` (in refused_methods.py). The class inherits them from `Refused`.
- `NAMES` of the module `gymapi`, whose `__getattr__` is `refuse_name`. Types that only refused methods take do exist.
- `USES` of names that exist, because programs compare with them or set them: code that meets one raises `refused_use`.

What the stand-in gains is deleted here: `tests/standin/test_table.py` fails as long as it is in both places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from isaac_standin.api.refused_methods import METHODS, Refusal, family
from isaac_standin.errors import NotSupported

NAMES: dict[str, Refusal] = {
    "SoftContact": Refusal("a contact of a soft body", "nothing: soft bodies are not simulated"),
    "SoftMaterial": Refusal("the elastic material of a soft body", "nothing: soft bodies are not simulated"),
    "UsdExporter": Refusal("a writer of USD files", "nothing: USD is not written"),
    "UsdExportOptions": Refusal("the settings of a writer of USD files", "nothing: USD is not written"),
    "OmniConnectionParams": Refusal("the address of an Omniverse server", "`create_viewer`, to watch"),
    "RigidContact": Refusal("a contact point", "`acquire_net_contact_force_tensor`"),
    "carb_init": Refusal("the start of NVIDIA's Carbonite framework", "nothing: delete the call"),
    **family(
        "numpy, or isaacgym.torch_utils for many at once",
        {
            "cross": "the cross products of arrays of `Vec3`",
            "dot": "the dot products of arrays of `Vec3`",
            "eulers_to_quats_zyx": "the quaternions of arrays of Euler angles",
            "quats_to_eulers_zyx": "the Euler angles of arrays of quaternions",
            "rotate": "arrays of `Vec3`, turned by quaternions",
            "rotate_inverse": "arrays of `Vec3`, turned back by quaternions",
            "transform": "arrays of `Vec3`, moved by transforms",
            "transform_inverse": "arrays of `Vec3`, moved back by transforms",
        },
    ),
}

USES: dict[str, Refusal] = {
    "SIM_FLEX": Refusal("a sim on NVIDIA Flex", "SIM_PHYSX, which stands for MuJoCo here"),
    "IMAGE_OPTICAL_FLOW": Refusal("an image of how each pixel moved", "IMAGE_COLOR, IMAGE_DEPTH or IMAGE_SEGMENTATION"),
    "RIGID_BODY_DISABLE_SIMULATION": Refusal(
        "a body that stays where it is put", "an asset with AssetOptions.fix_base_link"
    ),
    "AssetOptions.vhacd_enabled": Refusal(
        "a mesh cut into convex parts", "one mesh file for each convex part; a mesh is used as its convex hull"
    ),
    "AssetOptions.convex_decomposition_from_submeshes": Refusal(
        "a mesh whose named parts are convex shapes", "one mesh file for each convex part"
    ),
}


def _way_out(refusal: Refusal) -> str:
    """Return what to do instead, as a sentence of its own."""
    if refusal.instead.startswith("nothing: "):
        return "there is nothing to use instead: " + refusal.instead.removeprefix("nothing: ")
    return f"use {refusal.instead}"


def refused_method(name: str) -> NotSupported:
    """Return the error for calling a method of `METHODS`."""
    refusal = METHODS[name]
    return NotSupported(
        f"the stand-in for Isaac Gym has no Gym.{name}",
        got=f"a call that would {refusal.would}",
        expected="only methods that docs/standin.md lists as supported",
        fix=_way_out(refusal),
    )


def refused_use(name: str, where: str) -> NotSupported:
    """Return the error for a name of `USES`.

    Args:
      name: its name there.
      where: the call that met it, such as "Gym.create_sim".
    """
    refusal = USES[name]
    return NotSupported(
        f"the stand-in for Isaac Gym does not support {name}",
        where=where,
        got=f"{name}, which would be {refusal.would}",
        fix=_way_out(refusal),
    )


def refuse_name(name: str) -> NoReturn:
    """Raise the error for a name that the module `gymapi` does not have; to be its `__getattr__`.

    Raises:
      NotSupported: for a name of Isaac Gym.
      AttributeError: for any other name.
    """
    if name not in NAMES:
        raise AttributeError(f"module 'isaacgym.gymapi' has no attribute {name!r}")
    refusal = NAMES[name]
    raise NotSupported(
        f"the stand-in for Isaac Gym has no gymapi.{name}",
        got=f"a name that would be {refusal.would}",
        fix=_way_out(refusal),
    )


def _method_that_refuses(name: str) -> Callable[..., NoReturn]:
    """Return a method of this name that raises `NotSupported` whatever it is called with."""

    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise refused_method(name)

    refuse.__name__ = name
    refuse.__qualname__ = f"Refused.{name}"
    refuse.__doc__ = f"Refuse to {METHODS[name].would}; instead: {METHODS[name].instead}."
    return refuse


class Refused:
    """The refused methods; the last base class of `Gym`, so that it has all of Isaac Gym's methods."""


for _name in METHODS:
    setattr(Refused, _name, _method_that_refuses(_name))
