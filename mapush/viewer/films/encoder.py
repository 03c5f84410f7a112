"""Encode pictures as a video with ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, Tuple, cast

import numpy as np

from mapush.errors import ConfigError
from mapush.viewer.films.film_file import partial_of, write_error


class VideoFormat(NamedTuple):
    """A video format.

    Attributes:
      fps: frames per second.
      text_scale: factor on the text size; larger where the video is smaller than the pictures.
      max_lines: lines of text per frame, at most.
      codec: ffmpeg's name of the codec.
      options: ffmpeg's options for the output.
    """

    fps: int
    text_scale: float
    max_lines: int
    codec: str
    options: Tuple[str, ...]


_X264 = ("-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4")
_PALETTE = "scale=iw/2:-1:flags=area,split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse=dither=none"
_GIF = ("-filter_complex", f"{_PALETTE}:diff_mode=rectangle", "-f", "gif")

FORMATS = {
    ".mp4": VideoFormat(fps=25, text_scale=0.9, max_lines=20, codec="libx264", options=_X264),
    ".gif": VideoFormat(fps=10, text_scale=1.6, max_lines=3, codec="gif", options=_GIF),
}


def find_ffmpeg(codec: str) -> str:
    """Return the path of the ffmpeg that comes with imageio-ffmpeg.

    Raises:
      ConfigError: there is no ffmpeg, or it cannot write `codec`.
    """
    try:
        import imageio_ffmpeg

        path = cast(str, imageio_ffmpeg.get_ffmpeg_exe())
        source = ["-f", "lavfi", "-i", "color=size=64x64", "-frames:v", "1"]
        command = [path, "-loglevel", "error", *source, "-c:v", codec, "-f", "null", "-"]
        subprocess.run(command, capture_output=True, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            "no video encoder works on this machine",
            got=str(error),
            expected=f"an ffmpeg with the codec {codec}",
            fix="pip install --force-reinstall imageio-ffmpeg, or record to FILE.html, which needs no encoder",
        ) from error
    return path


class Encoder:
    """Write pictures to a video file.

    Args:
      path: the file; its suffix is one of `FORMATS`.
      width: width of the pictures [pixels].
      height: height of the pictures [pixels].
      title: title stored in the file.

    Attributes:
      format: the format of the video.

    Raises:
      ConfigError: this machine cannot write this format.
    """

    def __init__(self, path: Path, width: int, height: int, title: str) -> None:
        self.format = FORMATS[path.suffix]
        self._path = path
        self._frames = 0
        codec = self.format.codec
        pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self.format.fps)]
        video = ["-c:v", codec, *self.format.options, "-metadata", f"title={title}", str(partial_of(path))]
        self._ffmpeg = subprocess.Popen(
            [find_ffmpeg(codec), "-loglevel", "error", "-y", *pictures, "-i", "-", *video],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # otherwise Ctrl-C would also kill ffmpeg, before it has finished the file
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
        )

    def write(self, picture: np.ndarray) -> None:
        """Append `picture`, shape (height, width, 3), uint8.

        Raises:
          MapushError: ffmpeg has died.
        """
        try:
            cast("IO[bytes]", self._ffmpeg.stdin).write(picture.data)
        except BrokenPipeError:
            self._fail()
        self._frames += 1

    def close(self) -> None:
        """Finish the video and give the file its name; without a picture, leave no file.

        Raises:
          MapushError: ffmpeg could not finish the file.
        """
        partial = partial_of(self._path)
        self._ffmpeg.communicate()
        if self._frames == 0:
            partial.unlink(missing_ok=True)
            return
        if self._ffmpeg.returncode != 0:
            self._fail()
        partial.replace(self._path)

    def _fail(self) -> NoReturn:
        _, stderr = self._ffmpeg.communicate()
        partial_of(self._path).unlink(missing_ok=True)
        message = stderr.decode(errors="replace").strip()
        first_line = message.partition("\n")[0]
        raise write_error(self._path, first_line or f"ffmpeg ended with code {self._ffmpeg.returncode}")
