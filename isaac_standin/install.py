"""Make `import isaacgym` find the stand-in, in this process and in those that it starts; and the settings of both.

The launcher puts `isaac_standin/shim` on the path of a program. There the package `isaacgym` calls `activate`, which
adds the modules of `isaac_standin.api` under Isaac Gym's names. A real Isaac Gym is never hidden, unless allowed.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Mapping, MutableMapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

from isaac_standin.errors import StandinError
from mapush.config import bytes_of
from mapush.errors import unknown

PACKAGE = "isaacgym"
SUBMODULES = ("gymapi", "gymtorch", "gymutil", "torch_utils", "terrain_utils")
SHIM = Path(__file__).resolve().parent / "shim"
PREFIX = "ISAAC_STANDIN_"

Backend = Literal["auto", "cpu", "gpu"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the stand-in; in the environment they are called ISAAC_STANDIN_THREADS and so on.

    Raises:
      ConfigError: an unknown backend, or a size that is none.
      StandinError: a number that is not positive.
    """

    backend: Backend = "auto"
    """What computes: MuJoCo on the CPU, MuJoCo Warp on a GPU, or the GPU only if it works."""

    threads: int | None = None
    """Threads that step the envs on the CPU; by default one for each core that this process may use."""

    physx_memory: str | None = None
    """Memory of the GPU that the program is meant for, such as 8GiB: buffers for which PhysX would not get the memory
    are refused. By default nothing is."""

    contacts_per_env: int | None = None
    """Room for contacts of each env on the GPU; by default it is estimated."""

    rows_per_env: int | None = None
    """Room for constraint rows of each env on the GPU; by default it is estimated."""

    allow_real: bool = False
    """Use the stand-in even where a real Isaac Gym is installed."""

    def __post_init__(self) -> None:
        if self.backend not in get_args(Backend):
            raise unknown("backend", self.backend, get_args(Backend))
        for name in ("threads", "contacts_per_env", "rows_per_env"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise StandinError(f"{name} is not positive", where=_flag(name), got=str(number), expected="1 or more")
        if self.physx_memory is not None:
            bytes_of(self.physx_memory)

    @property
    def physx_bytes(self) -> int | None:
        """Memory of the GPU that the program is meant for [bytes], or None."""
        if self.physx_memory is None:
            return None
        return bytes_of(self.physx_memory)

    @property
    def num_threads(self) -> int:
        """Threads that step the envs on the CPU."""
        if self.threads is not None:
            return self.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def export(self, environ: MutableMapping[str, str]) -> None:
        """Write the settings that are not defaults to an environment, and remove the others from it."""
        for field in dataclasses.fields(self):
            variable = PREFIX + field.name.upper()
            environ.pop(variable, None)
            value = getattr(self, field.name)
            if value != field.default:
                environ[variable] = str(value)


def settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment, by default that of this process.

    Raises:
      ConfigError: an unknown variable, an unknown backend, or a size that is none.
      StandinError: a number that is none.
    """
    if environ is None:
        environ = os.environ
    fields = {PREFIX + field.name.upper(): field.name for field in dataclasses.fields(Settings)}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in fields:
            raise unknown("environment variable", variable, fields)
        values[fields[variable]] = _parsed(variable, fields[variable], text)
    return Settings(**values)  # type: ignore[arg-type]  # each is parsed to the type of its field


def _parsed(variable: str, name: str, text: str) -> object:
    if name in ("backend", "physx_memory"):
        return text
    if name == "allow_real":
        if text not in ("True", "False"):
            raise StandinError("not a truth value", where=variable, got=repr(text), expected="True or False")
        return text == "True"
    try:
        return int(text)
    except ValueError:
        raise StandinError("not a number", where=variable, got=repr(text), expected="1 or more") from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')} or {PREFIX}{name.upper()}"


def choose_backend(chosen: Settings) -> Literal["cpu", "gpu"]:
    """Return what computes on this machine.

    Raises:
      StandinError: a GPU is requested, and none can be used; or MuJoCo is missing.
    """
    from mapush.device.mujoco_packages import why_no_warp

    _require_mujoco()
    if chosen.backend == "cpu":
        return "cpu"
    obstacle = why_no_warp()
    if obstacle is None:
        return "gpu"
    if chosen.backend == "gpu":
        raise StandinError(
            "the GPU cannot be used",
            where=_flag("backend"),
            cause=obstacle.what,
            fix="--backend cpu, or install what is missing: python -m pip install 'mapush-stack[gpu]'",
        )
    return "cpu"


def install(chosen: Settings | None = None) -> None:
    """Make `import isaacgym` find the stand-in in this process, and in processes that it starts with multiprocessing.

    Nothing happens if it finds the stand-in already.

    Args:
      chosen: the settings, which the environment of this process then has; by default those that it has.

    Raises:
      StandinError: a real Isaac Gym is imported, or can be and `allow_real` is not set.
    """
    loaded = sys.modules.get(PACKAGE)
    if loaded is not None:
        if is_standin(loaded.__spec__):
            return
        raise _real(str(getattr(loaded, "__file__", "imported already")), "start the program without importing it")
    if chosen is None:
        chosen = settings()
    refuse_real(chosen)
    chosen.export(os.environ)
    if str(SHIM) not in sys.path:
        sys.path.insert(0, str(SHIM))
    importlib.invalidate_caches()
    importlib.import_module(PACKAGE)


def activate(package: ModuleType) -> None:
    """Fill the package `isaacgym` of the shim; it calls this when it is imported.

    Args:
      package: the package, which gets the modules of `isaac_standin.api` under Isaac Gym's names.

    Raises:
      StandinError: a real Isaac Gym is installed behind the shim, or MuJoCo is missing.
    """
    from isaac_standin import devices

    chosen = settings()
    refuse_real(chosen)
    backend = choose_backend(chosen)
    for name in SUBMODULES:
        source = f"isaac_standin.api.{name}"
        if importlib.util.find_spec(source) is None:
            continue
        module = importlib.import_module(source)
        sys.modules[f"{PACKAGE}.{name}"] = module
        setattr(package, name, module)
    devices.redirect(gpu=backend == "gpu")
    if multiprocessing.current_process().name == "MainProcess":  # its children say nothing
        print(banner(chosen, backend), file=sys.stderr, flush=True)


def banner(chosen: Settings, backend: Literal["cpu", "gpu"]) -> str:
    """Return the line that says what the program runs on."""
    where = "GPU"
    if backend == "cpu":
        where = f"CPU, {chosen.num_threads} threads"
        if chosen.num_threads == 1:
            where = "CPU, 1 thread"
    engine = f"MuJoCo {version('mujoco')}"
    return f"isaac_standin: runs code written for Isaac Gym on {engine} ({where}); not affiliated with NVIDIA"


def is_standin(spec: ModuleSpec | None) -> bool:
    """Return whether a package `isaacgym` is that of the shim."""
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).resolve().is_relative_to(SHIM)


def find_real() -> str | None:
    """Return where a package `isaacgym` that is not ours can be imported from, without importing it; None if nowhere.

    A folder of that name without `__init__.py`, such as the unpacked archive of Isaac Gym, is no package.
    """
    path = []
    for entry in sys.path:
        if Path(entry or ".").resolve() != SHIM:
            path.append(entry)
    for finder in sys.meta_path:  # an editable installation has a finder of its own
        if finder is PathFinder:
            spec = PathFinder.find_spec(PACKAGE, path)
        elif hasattr(finder, "find_spec"):
            spec = finder.find_spec(PACKAGE, None)
        else:
            continue
        if spec is not None and spec.origin is not None and not is_standin(spec):
            return spec.origin
    return None


def refuse_real(chosen: Settings) -> None:
    """Refuse to hide a real Isaac Gym.

    Raises:
      StandinError: there is one, and `allow_real` is not set.
    """
    if chosen.allow_real:
        return
    place = find_real()
    if place is not None:
        raise _real(place, f"run the program without the stand-in; or use it nevertheless: {_flag('allow_real')}=True")


def _real(place: str, fix: str) -> StandinError:
    return StandinError(
        "Isaac Gym itself can be imported here, and the stand-in would hide it",
        where=place,
        cause="the stand-in computes with MuJoCo, so its results differ from those of Isaac Gym",
        fix=fix,
    )


def _require_mujoco() -> None:
    try:
        version("mujoco")
    except PackageNotFoundError:
        fix = f"{sys.executable} -m pip install mapush-stack"
        raise StandinError("MuJoCo is not installed for this Python", where=sys.executable, fix=fix) from None
