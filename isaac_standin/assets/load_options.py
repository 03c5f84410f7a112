"""How an asset is read from its file."""

from __future__ import annotations

import dataclasses

from isaac_standin.errors import StandinError


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """Those of Isaac Gym's asset options that change the asset itself.

    `flip_visual_attachments` is not among them: visuals are always placed as the file says.

    Attributes:
      collapse_fixed_joints: merge links that are fixed to their parents into them, except where the joint has the
        attribute `dont_collapse="true"`.
      replace_cylinder_with_capsule: cylinders that collide get round caps in addition to their length.
      density: of links without mass [kg m^-3].
      fix_base_link: the root does not move by itself.
      disable_gravity: gravity does not act on the asset.
      armature: added to the armature of every joint [kg m^2 or kg].
      override_com: compute centres of mass from the shapes that collide, even where the file gives them.
      override_inertia: likewise the inertia, for the mass of the file.
    """

    collapse_fixed_joints: bool = False
    replace_cylinder_with_capsule: bool = False
    density: float = 1000.0
    fix_base_link: bool = False
    disable_gravity: bool = False
    armature: float = 0.0
    override_com: bool = False
    override_inertia: bool = False

    def __post_init__(self) -> None:
        for name in ("density", "armature"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise StandinError(f"the asset option {name} is negative or not finite", got=str(value))
