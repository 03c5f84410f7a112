"""The part of `Gym` that answers questions about assets."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from isaac_standin.api import translation
from isaac_standin.api.enums import DofType, JointType
from isaac_standin.api.handles import Asset, index_of
from isaac_standin.api.values import ActuatorProperties, IndexRange, RigidShapeProperties
from isaac_standin.assets import asset as assets
from isaac_standin.scene.actor import drives_of


def body_names(asset: assets.Asset) -> list[str]:
    """Return the names of an asset's bodies."""
    return [body.name for body in asset.bodies]


def dof_names(asset: assets.Asset) -> list[str]:
    """Return the names of an asset's degrees of freedom."""
    return [joint.name for joint in asset.joints()]


def joint_names(asset: assets.Asset) -> list[str]:
    """Return the names of an asset's joints; a fixed one has the name of the body that it fixes."""
    return [name for name, _ in _joints(asset)]


def _joints(asset: assets.Asset) -> list[tuple[str, JointType]]:
    """Return name and kind of each joint of an asset."""
    found = []
    for body in asset.bodies[1:]:
        if body.joint is None:
            found.append((body.name, JointType.JOINT_FIXED))
        for joint in body.joints():
            found.append((joint.name, _JOINT_TYPES[joint.kind]))
    return found


_JOINT_TYPES = {"revolute": JointType.JOINT_REVOLUTE, "prismatic": JointType.JOINT_PRISMATIC}


class AssetQueries:
    """Bodies, degrees of freedom, shapes and actuators of assets, by index and name."""

    def get_asset_rigid_body_count(self, asset: Asset) -> int:
        """Return the number of bodies."""
        return len(asset.asset.bodies)

    def get_asset_rigid_body_names(self, asset: Asset) -> list[str]:
        """Return the names of the bodies."""
        return body_names(asset.asset)

    def get_asset_rigid_body_name(self, asset: Asset, index: int) -> str:
        """Return the name of a body."""
        return body_names(asset.asset)[index]

    def get_asset_rigid_body_dict(self, asset: Asset) -> dict[str, int]:
        """Return the index of each body by its name."""
        return _numbered(body_names(asset.asset))

    def find_asset_rigid_body_index(self, asset: Asset, name: str) -> int:
        """Return the index of a body; -1 if there is none of that name."""
        return index_of(body_names(asset.asset), name)

    def get_asset_dof_count(self, asset: Asset) -> int:
        """Return the number of degrees of freedom."""
        return len(asset.asset.joints())

    def get_asset_dof_names(self, asset: Asset) -> list[str]:
        """Return the names of the degrees of freedom."""
        return dof_names(asset.asset)

    def get_asset_dof_name(self, asset: Asset, index: int) -> str:
        """Return the name of a degree of freedom."""
        return dof_names(asset.asset)[index]

    def get_asset_dof_dict(self, asset: Asset) -> dict[str, int]:
        """Return the index of each degree of freedom by its name."""
        return _numbered(dof_names(asset.asset))

    def find_asset_dof_index(self, asset: Asset, name: str) -> int:
        """Return the index of a degree of freedom; -1 if there is none of that name."""
        return index_of(dof_names(asset.asset), name)

    def get_asset_dof_type(self, asset: Asset, index: int) -> DofType:
        """Return whether a degree of freedom turns or slides."""
        if asset.asset.joints()[index].kind == "prismatic":
            return DofType.DOF_TRANSLATION
        return DofType.DOF_ROTATION

    def get_asset_dof_properties(self, asset: Asset) -> np.ndarray:
        """Return limits and drives, a structured array with one row for each degree of freedom."""
        return translation.dof_array(drives_of(asset.asset, asset.drive_mode))

    def get_asset_joint_count(self, asset: Asset) -> int:
        """Return the number of joints, fixed ones included."""
        return len(joint_names(asset.asset))

    def get_asset_joint_names(self, asset: Asset) -> list[str]:
        """Return the names of the joints; a fixed one has the name of the body that it fixes."""
        return joint_names(asset.asset)

    def get_asset_joint_name(self, asset: Asset, index: int) -> str:
        """Return the name of a joint."""
        return self.get_asset_joint_names(asset)[index]

    def get_asset_joint_dict(self, asset: Asset) -> dict[str, int]:
        """Return the index of each joint by its name."""
        return _numbered(self.get_asset_joint_names(asset))

    def find_asset_joint_index(self, asset: Asset, name: str) -> int:
        """Return the index of a joint; -1 if there is none of that name."""
        return index_of(self.get_asset_joint_names(asset), name)

    def get_asset_joint_type(self, asset: Asset, index: int) -> JointType:
        """Return the kind of a joint."""
        return _joints(asset.asset)[index][1]

    def get_asset_rigid_shape_count(self, asset: Asset) -> int:
        """Return the number of shapes that can collide."""
        return len(asset.surfaces)

    def get_asset_rigid_shape_properties(self, asset: Asset) -> list[RigidShapeProperties]:
        """Return copies of the properties of the shapes that can collide."""
        return translation.shape_list(asset.surfaces)

    def set_asset_rigid_shape_properties(self, asset: Asset, props: Sequence[RigidShapeProperties]) -> bool:
        """Set the properties of the shapes of actors that are created from now on."""
        asset.surfaces = translation.surfaces(props, len(asset.surfaces), "set_asset_rigid_shape_properties")
        return True

    def get_asset_rigid_body_shape_indices(self, asset: Asset) -> list[IndexRange]:
        """Return which shapes each body has: the first of them, and how many."""
        return translation.shape_ranges(asset.asset)

    def get_asset_actuator_count(self, asset: Asset) -> int:
        """Return the number of motors of an MJCF file."""
        return len(asset.asset.actuators)

    def get_asset_actuator_name(self, asset: Asset, index: int) -> str:
        """Return the name of a motor."""
        return asset.asset.actuators[index].name

    def get_asset_actuator_joint_name(self, asset: Asset, index: int) -> str:
        """Return the name of the joint that a motor drives."""
        return asset.asset.actuators[index].joint

    def find_asset_actuator_index(self, asset: Asset, name: str) -> int:
        """Return the index of a motor; -1 if there is none of that name."""
        return index_of((actuator.name for actuator in asset.asset.actuators), name)

    def get_asset_actuator_properties(self, asset: Asset) -> list[ActuatorProperties]:
        """Return the properties of the motors of an MJCF file."""
        return translation.actuator_list(asset.asset)


def _numbered(names: list[str]) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}
