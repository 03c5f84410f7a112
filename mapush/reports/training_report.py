"""The report of training runs: a page with their curves, speed, memory, configuration and versions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from mapush.reports import run_figures as figures
from mapush.reports.formatting import UNKNOWN, env_steps, fixed, interval, millions, number, rate
from mapush.reports.page import Block, Figure, Page, Row, Section, Table, Tile
from mapush.reports.run_data import RunData, columns_under, has_numbers
from mapush.run import checkpoint as checkpoints
from mapush.run.shown_progress import SilentProgress

MARK = "<!-- mapush report -->"  # the last line of every page

LEARNER = {
    "train/value_loss": "value loss",
    "train/policy_loss": "policy loss",
    "train/entropy": "entropy of the policy [nats]",
    "train/std": "standard deviation of actions",
    "train/ratio": "probability ratio after the update",
    "train/actor_grad_norm": "gradient norm of the actors",
    "train/critic_grad_norm": "gradient norm of the critic",
}
"""Titles of the learner's most important columns."""


def write_training(runs: Sequence[RunData], path: Path, progress: Optional[SilentProgress] = None) -> Path:
    """Write the report of training runs, and return its path.

    Args:
      runs: the runs; the others are compared with the first.
      path: the HTML file.
      progress: gets the sections of the page.
    """
    progress = progress or SilentProgress()
    sections: List[Section] = []
    logged = [run for run in runs if run.log]
    if logged:
        for number, section in enumerate((_learning, _rewards, _learner, _resources)):
            progress.update(number, total=4)
            sections.append(section(logged))
    sections += [_checkpoints(runs), _configuration(runs), _versions(runs)]
    missing = _missing_rows(runs)
    if missing:
        sections.append(Section("What could not be shown", [Table(["run", "because"], missing, texts=2)]))
    page = Page(_title(runs), _subtitle(runs), _tiles(runs), sections, _footer())
    path.write_text(page.html() + f"\n{MARK}\n", encoding="utf-8")
    return path


def is_training_report(path: Path) -> bool:
    """Return whether a file is a page that `write_training` wrote."""
    try:
        return path.read_text(encoding="utf-8").rstrip().endswith(MARK)
    except (OSError, ValueError):
        return False


# -- head and foot ---------------------------------------------------------------------------------------------------


def _title(runs: Sequence[RunData]) -> str:
    if len(runs) > 2:
        return f"Training: {len(runs)} runs"
    return f"Training: {' and '.join(_names(runs))}"


def _subtitle(runs: Sequence[RunData]) -> str:
    tasks: Set[str] = set()
    presets: Set[str] = set()
    steps: List[str] = []
    for run in runs:
        tasks.add(run.task_name)
        presets.add(str(run.settings.get("preset")))
        steps.append(f"{_steps(run)} of {_total_steps(run)} env steps")
    return f"Task {' and '.join(sorted(tasks))}, preset {' and '.join(sorted(presets))}; {', '.join(steps)}."


def _footer() -> str:
    now = time.strftime("%Y-%m-%d at %H:%M")
    return f"Made on {now} from the run folders."


def _steps(run: RunData) -> str:
    return env_steps(run.last("step") or 0.0)


def _total_steps(run: RunData) -> str:
    return env_steps(run.settings.get("total_steps"))


def _tiles(runs: Sequence[RunData]) -> List[Tile]:
    if len(runs) == 1:
        return _tiles_of_one(runs[0])
    tiles: List[Tile] = []
    for run in runs:
        tiles.append(Tile(run.name, rate(_success(run)), f"success rate; {_success_note(run)}"))
    return tiles


def _tiles_of_one(run: RunData) -> List[Tile]:
    return [
        Tile("success rate", rate(_success(run)), _success_note(run)),
        Tile("mean return", number(run.last("episode/return")), "of the most recent episodes"),
        Tile("env steps", _steps(run), f"of {_total_steps(run)}"),
        Tile("speed", number(run.last("fps")), "env-steps/s, mean since the start or the last resume"),
        Tile("memory", number(run.last("rss_mib"), "MiB"), "resident, newest value"),
    ]


def _success(run: RunData) -> Optional[float]:
    """Return the success rate of the newest evaluated checkpoint; without one, that of training."""
    if run.results:
        return run.results[-1].success_rate
    return run.last("episode/success")


def _success_note(run: RunData) -> str:
    if not run.results:
        return "of the most recent episodes of training"
    newest = run.results[-1]
    return f"{interval(newest.interval)} after {env_steps(newest.step)} env steps, evaluated"


def _missing_rows(runs: Sequence[RunData]) -> List[Row]:
    rows: List[Row] = []
    for run in runs:
        for reason in run.missing:
            rows.append([run.name, reason])
    return rows


# -- curves ----------------------------------------------------------------------------------------------------------


def _learning(runs: Sequence[RunData]) -> Section:
    blocks: List[Block] = []
    if has_numbers(runs, "episode/success"):
        caption = (
            "Lines: success rate of the most recent 1,000 episodes of training, with exploration. Dots: success rate "
            "of checkpoints, evaluated without exploration, with 95 % intervals. Dashed: MAPush's published curve."
        )
        blocks.append(Figure(figures.success(runs), caption, wide=True))
    titles = {
        "episode/return": "return, mean over the team",
        "episode/length": "length [env steps]",
        "episode/finished_time": "finished time [s]",
        "episode/collaboration": "collaboration",
    }
    caption = "Means over the most recent 1,000 episodes. The finished time counts a failure as the longest episode."
    blocks += _panels("episodes", runs, titles, caption)
    caption = "How the most recent 1,000 episodes ended. The green part is the success rate of training."
    for index, run in enumerate(runs):
        if run.last("episode/success") is not None:
            blocks.append(Figure(figures.endings(f"endings{index}", runs, run), caption))
    return Section("Learning", blocks)


def _rewards(runs: Sequence[RunData]) -> Section:
    total = "reward/total"
    names = columns_under(runs, "reward/")
    if total in names:
        names.remove(total)
        names.insert(0, total)
    caption = "Mean of each weighted term per decision since the previous row of the log; they add up to the total."
    return Section("Reward terms", _panels("rewards", runs, _titles_of(names), caption))


def _learner(runs: Sequence[RunData]) -> Section:
    caption = "The last update of the learner. A healthy entropy falls slowly; a healthy ratio stays near 1."
    blocks = _panels("learner", runs, LEARNER, caption)
    others = [name for name in columns_under(runs, "train/") if name not in LEARNER]
    blocks += _panels("agents", runs, _titles_of(others), "The same for each agent.", summary="Agent by agent")
    return Section("Learner", blocks)


def _resources(runs: Sequence[RunData]) -> Section:
    titles = {"fps": "env-steps/s", "rss_mib": "resident memory [MiB]"}
    titles.update(_titles_of(columns_under(runs, "sim/")))
    caption = "Speed is the mean since the start or the last resume. Memory that grows without end is a leak."
    return Section("Speed and memory", _panels("resources", runs, titles, caption))


def _titles_of(columns: Sequence[str]) -> Dict[str, str]:
    """Return titles made from the names of columns, as "near object" from "reward/near_object"."""
    titles: Dict[str, str] = {}
    for column in columns:
        _, _, name = column.partition("/")
        titles[column] = name.replace("_", " ")
    return titles


def _panels(name: str, runs: Sequence[RunData], titles: Dict[str, str], caption: str, summary: str = "") -> List[Block]:
    """Draw a panel for each column in `titles` that has numbers; no figure if there are none."""
    shown = {column: title for column, title in titles.items() if has_numbers(runs, column)}
    if not shown:
        return []
    return [Figure(figures.panels(name, runs, shown), caption, wide=True, summary=summary)]


# -- tables ----------------------------------------------------------------------------------------------------------


def _checkpoints(runs: Sequence[RunData]) -> Section:
    paths = [path for run in runs for path in run.checkpoints]
    steps = dict(zip(paths, millions([checkpoints.step_of(path) for path in paths])))
    rows: List[Row] = []
    for run in runs:
        for path in run.checkpoints:
            rows.append(_checkpoint_row(run, path, steps[path]))
    if not rows:
        return Section("Checkpoints", text="None yet.")
    headings = ["run", "M steps", "MiB", "written", "success rate", "95 % interval", "episodes"]
    return Section("Checkpoints", [Table(headings, rows)])


def _checkpoint_row(run: RunData, path: Path, steps: str) -> Row:
    step = checkpoints.step_of(path)
    info = path.stat()
    success, bounds, episodes = UNKNOWN, "", ""
    for result in run.results:
        if result.step == step:
            success, bounds = rate(result.success_rate), interval(result.interval)
            episodes = str(result.episodes or UNKNOWN)
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(info.st_mtime))
    return [run.name, steps, fixed(info.st_size / 2**20, 1), written, success, bounds, episodes]


def _configuration(runs: Sequence[RunData]) -> Section:
    rows: List[Row] = []
    differing: List[Row] = []
    marked: List[int] = []
    for index, name in enumerate(_all_names(runs, lambda run: run.settings)):
        row = _setting_row(runs, name)
        rows.append(row)
        if _differs(runs, name):
            differing.append(row)
            marked.append(index)
    headings = ["setting", *_names(runs), "preset"]
    text = "Settings that differ from the preset, or from run to run, are marked."
    texts = len(headings)
    different = Table(headings, differing, texts, marked=range(len(differing)))
    everything = Table(headings, rows, texts, marked=marked, summary="All settings")
    return Section("Configuration", [different, everything], text)


def _setting_row(runs: Sequence[RunData], name: str) -> Row:
    """Return the name of a setting, its value in each run, and its values in the presets, each once."""
    row = [name]
    presets: List[str] = []
    for run in runs:
        row.append(_text(run.settings, name))
        of_preset = _text(run.preset, name)
        if of_preset not in presets:
            presets.append(of_preset)
    return [*row, ", ".join(presets)]


def _differs(runs: Sequence[RunData], name: str) -> bool:
    """Return whether a setting differs from run to run, or from the preset of its run."""
    for run in runs:
        value = run.settings.get(name)
        if value != runs[0].settings.get(name):
            return True
        if run.preset and value != run.preset.get(name):
            return True
    return False


def _text(settings: Dict[str, Any], name: str) -> str:
    value = settings.get(name, UNKNOWN)
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _versions(runs: Sequence[RunData]) -> Section:
    rows: List[Row] = []
    for name in _all_names(runs, lambda run: run.versions):
        row = [name]
        for run in runs:
            row.append(run.versions.get(name, UNKNOWN))
        rows.append(row)
    if not rows:
        rows.append(["not known"])
    return Section("Versions", [Table(["what", *_names(runs)], rows, texts=1 + len(runs))])


def _names(runs: Sequence[RunData]) -> List[str]:
    return [run.name for run in runs]


def _all_names(runs: Sequence[RunData], values_of: Callable[[RunData], Dict[str, Any]]) -> List[str]:
    """Return the names of the values of all runs, each once, in the order in which they occur."""
    names: Dict[str, None] = {}
    for run in runs:
        names.update(dict.fromkeys(values_of(run)))
    return list(names)
