"""Episodes as an MP4, drawn without a display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mapush.errors import ConfigError
from mapush.sim.base import STEP_DT

if TYPE_CHECKING:
    import mujoco
    import numpy as np

    from mapush.viewer.overlay import Overlay

FRAMES_PER_SECOND = 25
STEPS_PER_FRAME = round(1 / (FRAMES_PER_SECOND * STEP_DT))
WIDTH, HEIGHT = 1280, 720  # [pixels]
FONT_SIZE = 22  # [pixels]
MARGIN = 16  # [pixels]
GL_LIBRARIES = ("egl", "osmesa")  # the fastest first

_PROBE = "import mujoco; context = mujoco.GLContext(64, 64); context.make_current(); context.free()"


def choose_gl() -> None:
    """Let MuJoCo draw with a library that works without a display; call it before anything imports `mujoco`.

    A library that `MUJOCO_GL` already names is left as it is.

    Raises:
      ConfigError: none works here.
    """
    if os.environ.get("MUJOCO_GL"):
        return
    for library in GL_LIBRARIES:
        probe = [sys.executable, "-c", _PROBE]
        if subprocess.run(probe, env=dict(os.environ, MUJOCO_GL=library), capture_output=True).returncode == 0:
            os.environ["MUJOCO_GL"] = library
            return
    raise ConfigError(
        "nothing here can draw without a display",
        expected="a working OpenGL library: {}".format(" or ".join(GL_LIBRARIES)),
        fix="apt-get install libosmesa6 (draws on the CPU), or libegl1 libgl1-mesa-dri",
    )


class Recorder:
    """A screen that writes what it is shown, one call per env step, to an H.264 film.

    Args:
      model: what is drawn.
      path: the MP4.
      distance: of the camera [m].
    """

    closed = False

    def __init__(self, model: mujoco.MjModel, path: Path, distance: float) -> None:
        import imageio.v2
        import mujoco
        from PIL import ImageFont

        model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
        model.vis.quality.offsamples = 0  # four would look better and take four times as long without a GPU
        self._distance = distance
        self._renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[effect] = False
        self._camera = mujoco.MjvCamera()
        self._font = ImageFont.load_default(FONT_SIZE)
        self._steps = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._film = imageio.v2.get_writer(
            str(path), fps=FRAMES_PER_SECOND, codec="libx264", quality=7, macro_block_size=2
        )

    def show(self, data: mujoco.MjData, overlay: Overlay) -> None:
        """Take the state after one env step; every second one becomes a frame."""
        self._steps += 1
        if self._steps % STEPS_PER_FRAME == 0:
            self._film.append_data(self._frame(data, overlay))

    def close(self) -> None:
        """Finish the film."""
        self._film.close()
        self._renderer.close()

    def _frame(self, data: mujoco.MjData, overlay: Overlay) -> np.ndarray:
        import numpy as np
        from PIL import Image, ImageDraw

        from mapush.viewer.overlay import aim, draw_arrows

        aim(self._camera, overlay.look_at, self._distance)
        self._renderer.update_scene(data, self._camera)
        draw_arrows(overlay, self._renderer.scene)
        image = Image.fromarray(self._renderer.render())
        text = "\n".join(overlay.lines)
        draw = ImageDraw.Draw(image, "RGBA")
        left, top, right, bottom = draw.multiline_textbbox((MARGIN, MARGIN), text, font=self._font)
        draw.rectangle((left - 8, top - 8, right + 8, bottom + 8), fill=(0, 0, 0, 130))
        draw.multiline_text((MARGIN, MARGIN), text, font=self._font, fill="white")
        return np.asarray(image)
