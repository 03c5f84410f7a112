"""The numbers of a run on Weights & Biases, next to TensorBoard's; `wandb` is imported only if a run asks for it."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from mapush.config import RunConfig, to_dict
from mapush.errors import ConfigError, MapushError
from mapush.run.atomic import written_at_once

FILE = "wandb.json"
"""In the run's folder: the id under which a resumed run continues on Weights & Biases."""
STEP = "env_steps"
WITHOUT_ACCOUNT = ("offline", "disabled", "dryrun")
_FIX = "log in with `wandb login`; or keep the numbers here with WANDB_MODE=offline and send them later: wandb sync"


def require_wandb(config: RunConfig, installed: Callable[[str], Any] = importlib.util.find_spec) -> None:
    """Refuse a run that shall be logged to Weights & Biases without the package or an account; nothing is made.

    Args:
      config: the run's configuration.
      installed: returns None for the name of a package that is not installed.

    Raises:
      ConfigError: with what to install, or how to log in.
    """
    if config.wandb is None:
        return
    found = installed("wandb")
    if found is None or found.origin is None:  # without an origin it is only a folder of that name
        raise ConfigError(
            "Weights & Biases is not installed",
            got=f"--wandb {config.wandb}",
            fix="python -m pip install wandb; or leave out --wandb: TensorBoard and progress.csv have the same numbers",
        )
    if os.environ.get("WANDB_MODE") in WITHOUT_ACCOUNT:
        return
    import wandb

    if not wandb.api.api_key:
        raise ConfigError("you are not logged in to Weights & Biases", got=f"--wandb {config.wandb}", fix=_FIX)


class WandbRun:
    """A run on Weights & Biases; a resumed run continues the one that its folder names.

    Args:
      run_dir: folder of the run; W&B's files lie in its folder `wandb`.
      config: its configuration; `wandb` is the project.

    Raises:
      MapushError: W&B refuses the run, or cannot be reached.
    """

    def __init__(self, run_dir: Path, config: RunConfig) -> None:
        import wandb

        try:
            self._run = wandb.init(
                project=config.wandb,
                id=_run_id(run_dir / FILE, config),
                resume="allow",
                name=f"{config.task_name} {run_dir.name}",
                group=config.task_name,
                config=to_dict(config),
                dir=str(run_dir),
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.Error as error:
            message = str(error).splitlines()[0]
            raise MapushError("Weights & Biases cannot log this run", got=message, fix=_FIX) from error
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def log(self, row: Dict[str, float], step: int) -> None:
        """Send numbers by name.

        Args:
          row: the numbers.
          step: env steps taken so far.
        """
        self._run.log(dict(row, **{STEP: step}))

    def close(self) -> None:
        """Send what is left; further calls do nothing."""
        self._run.finish()


def open_wandb(run_dir: Path, config: RunConfig) -> Optional[WandbRun]:
    """Return the run on Weights & Biases, or None if the configuration does not ask for one."""
    if config.wandb is None:
        return None
    return WandbRun(run_dir, config)


def _run_id(file: Path, config: RunConfig) -> str:
    """Return the id of the run in this project: the one in `file`, or a new one, which is written there."""
    if file.is_file():
        known = json.loads(file.read_text())
        if known.get("project") == config.wandb:
            return str(known["id"])
    new = secrets.token_hex(4)  # not from the generators that a run seeds
    with written_at_once(file) as part:
        part.write_text(json.dumps({"project": config.wandb, "id": new}) + "\n")
    return new
