"""Where the user's HARL is: the folder that was named, the one in `HARL_DIR`, or the installed package."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import sys
from pathlib import Path
from typing import Optional, Tuple

from harness.harl.probe import probe
from harness.interface.harl_forms import UPSTREAM, HarlForms
from harness.process.ending import Ending
from harness.process.isolate import Limits, call, can_isolate
from mapush.errors import ConfigError, MapushError

PROBE_SECONDS = 120.0
GET_HARL = "git clone https://github.com/PKU-MARL/HARL, and name that folder"
PIP_NAMES = {"absl": "absl-py", "yaml": "pyyaml"}


@dataclasses.dataclass(frozen=True)
class HarlFolder:
    """A copy of HARL.

    Attributes:
      path: the folder that contains the package `harl`; "" for upstream's, as it was measured.
      chosen_by: who named it.
    """

    path: str = ""
    chosen_by: str = ""

    @property
    def name(self) -> str:
        """Which HARL it is, in words."""
        if self.path:
            return f"the HARL in {self.path} ({self.chosen_by})"
        return UPSTREAM.name

    @property
    def package(self) -> Path:
        """The folder of the package `harl`."""
        return Path(self.path, "harl")

    def forms(self) -> HarlForms:
        """Return what it accepts; the first call probes it in a process of its own.

        Raises:
          ConfigError: it cannot be imported, or is too different from upstream's to be probed.
        """
        if not self.path:
            return UPSTREAM
        return _probed(self)


@functools.lru_cache(maxsize=None)
def _probed(folder: HarlFolder) -> HarlForms:
    if not can_isolate():
        return probe(folder.path, folder.name)
    ending = call(probe, folder.path, folder.name, limits=Limits(timeout=PROBE_SECONDS))
    if ending.ok:
        return ending.result
    raise not_usable(folder, ending)


def not_usable(folder: HarlFolder, ending: Ending) -> ConfigError:
    """Return the error for a HARL whose import or probing failed in a child process."""
    what, fix = "this HARL cannot be used", ending.fix
    last = ending.details.strip().splitlines()
    got = last[-1] if last else ending.kind
    if "No module named" in got:
        module = got.rpartition("No module named")[2].strip().strip("'\"")
        what, fix = missing_module(module)
    return ConfigError(what, where=folder.name, got=got, cause=ending.cause or None, fix=fix or None)


def missing_module(module: str) -> Tuple[str, str]:
    """Return what is wrong, and what to do, if HARL cannot import a module."""
    top = module.split(".")[0]
    if top == "harl":
        return f"the package named harl is not HARL, or a fork without {module}", GET_HARL
    if top == "uu":
        return "this Python is too new for HARL, which imports uu", "use Python 3.12 or older"
    return "HARL needs packages that are not installed", f"python -m pip install {PIP_NAMES.get(top, top)}"


def find_harl(named: str = "") -> HarlFolder:
    """Return the user's HARL, or upstream's as it was measured if there is none.

    Args:
      named: the folder that the user named; "" for none.

    Raises:
      ConfigError: the named folder, or the one in `HARL_DIR`, is not a checkout of HARL.
    """
    for path, chosen_by in ((named, "--harl"), (os.environ.get("HARL_DIR", ""), "HARL_DIR")):
        if path:
            return _checkout(path, chosen_by)
    installed = _installed()
    if installed is not None:
        return HarlFolder(str(installed), "installed")
    return HarlFolder()


def require_harl(named: str = "") -> HarlFolder:
    """Return the user's HARL.

    Raises:
      ConfigError: there is none, or a folder is not a checkout of HARL.
    """
    folder = find_harl(named)
    if not folder.path:
        what = "no HARL: neither --harl nor HARL_DIR names one, and none is installed"
        raise ConfigError(what, fix=f"{GET_HARL}: --harl HARL")
    return folder


def _checkout(path: str, chosen_by: str) -> HarlFolder:
    folder = Path(path).expanduser().resolve()
    for candidate in (folder, folder.parent):  # the folder of the package itself is accepted, too
        if (candidate / "harl" / "__init__.py").is_file() and (candidate == folder or folder.name == "harl"):
            return HarlFolder(str(candidate), chosen_by)
    expected = "a folder with harl/__init__.py"
    raise ConfigError(f"{chosen_by} is not a checkout of HARL", got=path, expected=expected, fix=GET_HARL)


def _installed() -> Optional[Path]:
    """Return the folder that contains an installed `harl`, without importing it."""
    if "harl" in sys.modules:
        spec = sys.modules["harl"].__spec__
    else:
        try:
            spec = importlib.util.find_spec("harl")
        except (ImportError, ValueError):
            return None
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(list(spec.submodule_search_locations)[0])
    if not (package / "runners").is_dir():
        return None
    return package.parent


@functools.lru_cache(maxsize=None)
def forms_or_upstream(folder: HarlFolder) -> HarlForms:
    """Return what a HARL accepts; upstream's forms, under a name that says why, if it cannot be probed."""
    try:
        return folder.forms()
    except MapushError as error:
        reason = f"{UPSTREAM.name}, as {folder.name} cannot be probed: {error.what}"
        if error.got:
            reason += f" ({error.got})"
        return dataclasses.replace(UPSTREAM, name=reason)
