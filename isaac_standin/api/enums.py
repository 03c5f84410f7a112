"""The enums of `isaacgym.gymapi`, and its constants of the same names at module level.

Members may be given as numbers: `ContactCollection(2)`, `up_axis = 1`. Sources say the numbers of `ContactCollection`,
`DofDriveMode`, `UpAxis`, `AXIS_*`, `STATE_*` and `RIGID_BODY_*`; those of the other enums are not published and follow
the order in which the documentation lists the members, so no program should rely on them.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

from isaac_standin.api.keys import *  # noqa: F403


class CameraFollowMode(IntEnum):
    """What of a body's pose a camera follows that is attached to it."""

    FOLLOW_POSITION = 0
    FOLLOW_TRANSFORM = 1


class ContactCollection(IntEnum):
    """The substeps whose contacts a step reports."""

    CC_NEVER = 0
    CC_LAST_SUBSTEP = 1
    CC_ALL_SUBSTEPS = 2


class CoordinateSpace(IntEnum):
    """The frame in which forces and positions are given."""

    ENV_SPACE = 0
    LOCAL_SPACE = 1
    GLOBAL_SPACE = 2


class DofDriveMode(IntEnum):
    """What drives a joint."""

    DOF_MODE_NONE = 0
    DOF_MODE_POS = 1
    DOF_MODE_VEL = 2
    DOF_MODE_EFFORT = 3


class DofType(IntEnum):
    """The motion of a degree of freedom."""

    DOF_INVALID = -1
    DOF_ROTATION = 0
    DOF_TRANSLATION = 1


class ImageType(IntEnum):
    """What the pixels of a camera's image hold."""

    IMAGE_COLOR = 0
    IMAGE_DEPTH = 1
    IMAGE_SEGMENTATION = 2
    IMAGE_OPTICAL_FLOW = 3


class IndexDomain(IntEnum):
    """Where an index counts from: the actor's, the env's or the simulation's first element."""

    DOMAIN_ACTOR = 0
    DOMAIN_ENV = 1
    DOMAIN_SIM = 2


class JointType(IntEnum):
    """The kind of a joint."""

    JOINT_INVALID = -1
    JOINT_FIXED = 0
    JOINT_REVOLUTE = 1
    JOINT_PRISMATIC = 2
    JOINT_BALL = 3
    JOINT_PLANAR = 4
    JOINT_FLOATING = 5


class MeshNormalMode(IntEnum):
    """Where the normals of a mesh come from."""

    FROM_ASSET = 0
    COMPUTE_PER_VERTEX = 1
    COMPUTE_PER_FACE = 2


class MeshType(IntFlag):
    """What a mesh is used for."""

    MESH_NONE = 0
    MESH_COLLISION = 1
    MESH_VISUAL = 2
    MESH_VISUAL_AND_COLLISION = 3


class SimType(IntEnum):
    """A physics engine."""

    SIM_PHYSX = 0
    SIM_FLEX = 1


class SoftMaterialType(IntEnum):
    """A model of soft matter."""

    MAT_COROTATIONAL = 0
    MAT_NEOHOOKEAN = 1


class TendonType(IntEnum):
    """The kind of a tendon."""

    TENDON_FIXED = 0
    TENDON_SPATIAL = 1


class TensorDataType(IntEnum):
    """The type of a tensor's elements."""

    DTYPE_FLOAT32 = 0
    DTYPE_UINT32 = 1
    DTYPE_UINT64 = 2
    DTYPE_UINT8 = 3
    DTYPE_INT16 = 4


class UpAxis(IntEnum):
    """The axis that points up."""

    UP_AXIS_Y = 0
    UP_AXIS_Z = 1


class UsdMaterialMode(IntEnum):
    """How materials are written to a USD file."""

    USD_MATERIAL_DISPLAY_COLOR = 0
    USD_MATERIAL_PREVIEW_SURFACE = 1
    USD_MATERIAL_MDL = 2


# Constants that belong to no enum.
AXIS_ALL = 63
AXIS_NONE = 0
AXIS_ROTATION = 56
AXIS_SWING_1 = 16
AXIS_SWING_2 = 32
AXIS_TRANSLATION = 7
AXIS_TWIST = 8
AXIS_X = 1
AXIS_Y = 2
AXIS_Z = 4
DEFAULT_VIEWER_HEIGHT = 900
DEFAULT_VIEWER_WIDTH = 1600
INVALID_HANDLE = -1
RIGID_BODY_DISABLE_GRAVITY = 1
RIGID_BODY_DISABLE_SIMULATION = 2
RIGID_BODY_ENABLE_GYROSCOPIC_FORCES = 4
RIGID_BODY_NONE = 0
STATE_ALL = 3
STATE_NONE = 0
STATE_POS = 1
STATE_VEL = 2

# The members of the enums as names of the module; written out, so that type checkers and editors know them.
CC_ALL_SUBSTEPS = ContactCollection.CC_ALL_SUBSTEPS
CC_LAST_SUBSTEP = ContactCollection.CC_LAST_SUBSTEP
CC_NEVER = ContactCollection.CC_NEVER
COMPUTE_PER_FACE = MeshNormalMode.COMPUTE_PER_FACE
COMPUTE_PER_VERTEX = MeshNormalMode.COMPUTE_PER_VERTEX
DOF_INVALID = DofType.DOF_INVALID
DOF_MODE_EFFORT = DofDriveMode.DOF_MODE_EFFORT
DOF_MODE_NONE = DofDriveMode.DOF_MODE_NONE
DOF_MODE_POS = DofDriveMode.DOF_MODE_POS
DOF_MODE_VEL = DofDriveMode.DOF_MODE_VEL
DOF_ROTATION = DofType.DOF_ROTATION
DOF_TRANSLATION = DofType.DOF_TRANSLATION
DOMAIN_ACTOR = IndexDomain.DOMAIN_ACTOR
DOMAIN_ENV = IndexDomain.DOMAIN_ENV
DOMAIN_SIM = IndexDomain.DOMAIN_SIM
DTYPE_FLOAT32 = TensorDataType.DTYPE_FLOAT32
DTYPE_INT16 = TensorDataType.DTYPE_INT16
DTYPE_UINT32 = TensorDataType.DTYPE_UINT32
DTYPE_UINT64 = TensorDataType.DTYPE_UINT64
DTYPE_UINT8 = TensorDataType.DTYPE_UINT8
ENV_SPACE = CoordinateSpace.ENV_SPACE
FOLLOW_POSITION = CameraFollowMode.FOLLOW_POSITION
FOLLOW_TRANSFORM = CameraFollowMode.FOLLOW_TRANSFORM
FROM_ASSET = MeshNormalMode.FROM_ASSET
GLOBAL_SPACE = CoordinateSpace.GLOBAL_SPACE
IMAGE_COLOR = ImageType.IMAGE_COLOR
IMAGE_DEPTH = ImageType.IMAGE_DEPTH
IMAGE_OPTICAL_FLOW = ImageType.IMAGE_OPTICAL_FLOW
IMAGE_SEGMENTATION = ImageType.IMAGE_SEGMENTATION
JOINT_BALL = JointType.JOINT_BALL
JOINT_FIXED = JointType.JOINT_FIXED
JOINT_FLOATING = JointType.JOINT_FLOATING
JOINT_INVALID = JointType.JOINT_INVALID
JOINT_PLANAR = JointType.JOINT_PLANAR
JOINT_PRISMATIC = JointType.JOINT_PRISMATIC
JOINT_REVOLUTE = JointType.JOINT_REVOLUTE
LOCAL_SPACE = CoordinateSpace.LOCAL_SPACE
MAT_COROTATIONAL = SoftMaterialType.MAT_COROTATIONAL
MAT_NEOHOOKEAN = SoftMaterialType.MAT_NEOHOOKEAN
MESH_COLLISION = MeshType.MESH_COLLISION
MESH_NONE = MeshType.MESH_NONE
MESH_VISUAL = MeshType.MESH_VISUAL
MESH_VISUAL_AND_COLLISION = MeshType.MESH_VISUAL_AND_COLLISION
SIM_FLEX = SimType.SIM_FLEX
SIM_PHYSX = SimType.SIM_PHYSX
TENDON_FIXED = TendonType.TENDON_FIXED
TENDON_SPATIAL = TendonType.TENDON_SPATIAL
UP_AXIS_Y = UpAxis.UP_AXIS_Y
UP_AXIS_Z = UpAxis.UP_AXIS_Z
USD_MATERIAL_DISPLAY_COLOR = UsdMaterialMode.USD_MATERIAL_DISPLAY_COLOR
USD_MATERIAL_MDL = UsdMaterialMode.USD_MATERIAL_MDL
USD_MATERIAL_PREVIEW_SURFACE = UsdMaterialMode.USD_MATERIAL_PREVIEW_SURFACE
