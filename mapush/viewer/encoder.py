"""Pictures into a film, by ffmpeg; the file has its name only once it is whole."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, Tuple, cast

import numpy as np

from mapush.errors import ConfigError, MapushError

PARTIAL = ".part"  # added to the name of a file until it is whole


class Format(NamedTuple):
    """A kind of film.

    Attributes:
      fps: frames per second.
      text_scale: of the text, larger where the film is smaller than what is drawn.
      lines: of text, at most.
      codec: as ffmpeg calls it.
      options: of ffmpeg, for its output.
    """

    fps: int
    text_scale: float
    lines: int
    codec: str
    options: Tuple[str, ...]


_X264 = ("-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4")
_PALETTE = "scale=iw/2:-1:flags=area,split[a][b];[a]palettegen=max_colors=128[p];[b][p]paletteuse=dither=none"
FORMATS = {
    ".mp4": Format(25, 0.9, 20, "libx264", _X264),
    ".gif": Format(10, 1.6, 3, "gif", ("-filter_complex", _PALETTE + ":diff_mode=rectangle", "-f", "gif")),
}


def partial_of(path: Path) -> Path:
    """Return where the file `path` is written until it is whole."""
    return path.with_name(path.name + PARTIAL)


def require_writable(path: Path) -> None:
    """Check that a file can be written.

    Raises:
      ConfigError: it cannot.
    """
    what = f"cannot record to {path}"
    if not path.parent.is_dir():
        raise ConfigError(what, cause=f"there is no folder {path.parent}", fix="mkdir -p " + str(path.parent))
    if path.is_dir():
        raise ConfigError(what, cause="it is a folder", fix="name a file in it")
    try:
        partial_of(path).open("wb").close()
    except OSError as error:
        raise ConfigError(what, cause=str(error), fix="name a file where you may write") from error
    partial_of(path).unlink()


def unwritten(path: Path, reason: str) -> MapushError:
    """Return what to say of a film that was begun and could not be finished."""
    what, cause = "the film could not be written", "often a disk that is full"
    return MapushError(what, where=str(path), got=reason, cause=cause, fix="another disk, or fewer --episodes")


def find_ffmpeg(codec: str) -> str:
    """Return the ffmpeg that comes with imageio-ffmpeg.

    Raises:
      ConfigError: there is none, or it cannot write `codec`.
    """
    try:
        import imageio_ffmpeg

        path = cast(str, imageio_ffmpeg.get_ffmpeg_exe())
        trial = [path, "-loglevel", "error", "-f", "lavfi", "-i", "color=size=64x64", "-frames:v", "1"]
        subprocess.run([*trial, "-c:v", codec, "-f", "null", "-"], capture_output=True, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            "nothing here can encode a film",
            got=str(error),
            expected=f"an ffmpeg with the codec {codec}",
            fix="pip install --force-reinstall imageio-ffmpeg, or record to FILE.html, which needs none",
        ) from error
    return path


class Encoder:
    """A film in the making.

    Args:
      path: of a kind in `FORMATS`.
      width: of the pictures [pixels].
      height: of the pictures [pixels].
      title: written into the file.

    Raises:
      ConfigError: nothing here can write this kind of film.
    """

    def __init__(self, path: Path, width: int, height: int, title: str) -> None:
        form = FORMATS[path.suffix]
        raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(form.fps)]
        out = ["-c:v", form.codec, *form.options, "-metadata", "title=" + title, str(partial_of(path))]
        self._path, self._frames = path, 0
        self._ffmpeg = subprocess.Popen(
            [find_ffmpeg(form.codec), "-loglevel", "error", "-y", *raw, "-i", "-", *out],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # or Ctrl-C would end it too, before it has finished what there is
        )

    def write(self, picture: np.ndarray) -> None:
        """Append `picture`, (height, width, 3) uint8.

        Raises:
          MapushError: the encoder has died.
        """
        try:
            cast("IO[bytes]", self._ffmpeg.stdin).write(picture.data)
        except BrokenPipeError:
            self._fail()
        self._frames += 1

    def close(self) -> None:
        """Finish the film and give it its name; without a picture there is none.

        Raises:
          MapushError: it could not be finished.
        """
        partial = partial_of(self._path)
        self._ffmpeg.communicate()
        if self._ffmpeg.returncode and self._frames:
            self._fail()
        if self._frames:
            partial.replace(self._path)
        else:
            partial.unlink(missing_ok=True)

    def _fail(self) -> NoReturn:
        said = self._ffmpeg.communicate()[1].decode(errors="replace").strip()
        partial_of(self._path).unlink(missing_ok=True)
        reason = said.partition("\n")[0] or f"ffmpeg ended with code {self._ffmpeg.returncode}"
        raise unwritten(self._path, reason)
