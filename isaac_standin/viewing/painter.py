"""Draw an env with MuJoCo, in whichever OpenGL context is current."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import mujoco
import numpy as np

from isaac_standin.physics.engine import Engine
from isaac_standin.scene.actor import Actor
from isaac_standin.viewing.lens import Lens, Pose
from isaac_standin.viewing.look import Look

MIN_GEOMS = 1000  # room in a scene beyond the geoms of the model

_OFF_SCREEN = mujoco.mjtFramebuffer.mjFB_OFFSCREEN
_WINDOW = mujoco.mjtFramebuffer.mjFB_WINDOW
_SLOW = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION)
_LABELS = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)


class Frame(NamedTuple):
    """The state of an env at one moment, as in `Engine`."""

    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray


class Line(NamedTuple):
    """A line to draw: its ends [m], and red, green and blue from 0 to 1."""

    start: np.ndarray
    end: np.ndarray
    color: np.ndarray


def frame_of(engine: Engine, env: int) -> Frame:
    """Return the present state of an env."""
    rows = []
    for tensor in (engine.qpos, engine.mocap_pos, engine.mocap_quat):
        rows.append(tensor[env].detach().cpu().numpy().copy())
    return Frame(*rows)


class Puppet:
    """The bodies of an env, put where a frame says."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self.model = model
        self.data = mujoco.MjData(model)

    def pose(self, frame: Frame) -> None:
        """Place all bodies and lights."""
        data = self.data
        data.qpos[:] = frame.qpos
        data.mocap_pos[:] = frame.mocap_pos
        data.mocap_quat[:] = frame.mocap_quat
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_comPos(self.model, data)
        mujoco.mj_camlight(self.model, data)

    def body(self, index: int) -> Pose:
        """Return the pose of a body of the model."""
        return Pose(self.data.xpos[index].copy(), self.data.xmat[index].reshape(3, 3).copy())


class Painter:
    """Draw envs. The OpenGL context that was current in the constructor must be current in every call.

    Args:
      look: the model to draw.
    """

    def __init__(self, look: Look) -> None:
        self.look = look
        self.puppet = Puppet(look.model)
        self._scene = self._new_scene(MIN_GEOMS)
        self._option = mujoco.MjvOption()
        self._context = mujoco.MjrContext(look.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR

    def _new_scene(self, extra: int) -> mujoco.MjvScene:
        scene = mujoco.MjvScene(self.look.model, self.look.model.ngeom + extra)
        for flag in _SLOW:
            scene.flags[flag] = False
        return scene

    def stage(self, frame: Frame, actors: Sequence[Actor]) -> None:
        """Choose the env that is drawn, and its state."""
        self.look.paint(actors)
        self.puppet.pose(frame)

    def prepare(self, lens: Lens, pose: Pose, collision: bool, lines: Sequence[Line] = ()) -> None:
        """Choose what of the env is drawn, and from where.

        Args:
          lens: the lens.
          pose: of the camera, in the frame of the env.
          collision: whether to draw the shapes that collide instead of the visual ones.
          lines: additional lines.
        """
        if self._scene.maxgeom < self.look.model.ngeom + len(lines):
            self._scene = self._new_scene(MIN_GEOMS + 2 * len(lines))
        self._option.geomgroup[:] = self.look.groups(collision)
        camera = _camera(pose)
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(
            self.look.model, self.puppet.data, self._option, None, camera, everything.value, self._scene
        )
        lens.aim(self._scene, pose)
        for line in lines:
            _add_line(self._scene, line)

    def to_window(self, width: int, height: int) -> None:
        """Draw into the current window."""
        mujoco.mjr_setBuffer(_WINDOW, self._context)
        mujoco.mjr_render(mujoco.MjrRect(0, 0, width, height), self._scene, self._context)

    def color(self, lens: Lens) -> np.ndarray:
        """Return a picture, (height, width, 3), uint8."""
        pixels = np.empty((lens.height, lens.width, 3), dtype=np.uint8)
        self._read(lens, pixels, None)
        return np.flipud(pixels)

    def depth(self, lens: Lens) -> np.ndarray:
        """Return the distance of what is visible from the plane of the camera [m], (height, width), float32.

        It is infinite where nothing is.
        """
        raw = np.empty((lens.height, lens.width), dtype=np.float32)
        with _Labels(self._scene):  # without the sky, which has a distance too
            self._read(lens, None, raw)
        # At a distance z, the buffer holds near (far - z) / (z (far - near)): 1 at the near plane, 0 at the far one.
        near, far = lens.planes
        distance = far * near / (far - near) / (raw.astype(np.float64) + near / (far - near))
        distance[raw <= 0.0] = np.inf
        return np.flipud(distance.astype(np.float32))

    def segmentation(self, lens: Lens, actors: Sequence[Actor]) -> np.ndarray:
        """Return the segmentation ids of the actors that are visible, (height, width), uint32; 0 elsewhere."""
        pixels = np.empty((lens.height, lens.width, 3), dtype=np.uint8)
        with _Labels(self._scene):
            self._read(lens, pixels, None)
        labels = pixels.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.uint32)
        segments = self.look.segments(actors)
        table = np.zeros(self._scene.ngeom + 1, dtype=np.uint32)  # a label is 0 for the sky, else 1 + geom in the scene
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                table[geom.segid + 1] = segments[geom.objid]
        return np.flipud(table[labels])

    def _read(self, lens: Lens, color: np.ndarray | None, depth: np.ndarray | None) -> None:
        context = self._context
        if context.offWidth < lens.width or context.offHeight < lens.height:
            width, height = max(context.offWidth, lens.width), max(context.offHeight, lens.height)
            mujoco.mjr_resizeOffscreen(width, height, context)
        mujoco.mjr_setBuffer(_OFF_SCREEN, context)
        area = mujoco.MjrRect(0, 0, lens.width, lens.height)
        mujoco.mjr_render(area, self._scene, context)
        mujoco.mjr_readPixels(color, depth, area, context)

    def free(self) -> None:
        """Release what the OpenGL context holds for this painter."""
        self._context.free()


class _Labels:
    """While it lasts, geoms are drawn in colours that name them."""

    def __init__(self, scene: mujoco.MjvScene) -> None:
        self._scene = scene

    def __enter__(self) -> None:
        for flag in _LABELS:
            self._scene.flags[flag] = True

    def __exit__(self, *_: object) -> None:
        for flag in _LABELS:
            self._scene.flags[flag] = False


def _camera(pose: Pose) -> mujoco.MjvCamera:
    """Return MuJoCo's camera at the same place and in the same direction; it cannot roll, so `Lens.aim` comes after."""
    camera = mujoco.MjvCamera()
    forward = pose.rot[:, 0]
    camera.distance = 1.0
    camera.lookat[:] = pose.pos + forward
    camera.azimuth = np.degrees(np.arctan2(forward[1], forward[0]))
    camera.elevation = np.degrees(np.arcsin(np.clip(forward[2], -1.0, 1.0)))
    return camera


def _add_line(scene: mujoco.MjvScene, line: Line) -> None:
    geom = scene.geoms[scene.ngeom]
    rgba = np.append(line.color, 1.0).astype(np.float32)
    kind = mujoco.mjtGeom.mjGEOM_LINE
    mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.eye(3).flatten(), rgba)
    mujoco.mjv_connector(geom, kind, 2.0, line.start, line.end)
    geom.category = mujoco.mjtCatBit.mjCAT_DECOR
    scene.ngeom += 1
