"""The report of training runs: one page with their curves, speed, memory, configuration and versions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from mapush.reports import run_figures as figures
from mapush.reports.page import Block, Cell, Figure, Page, Section, Table, Tile, interval, number
from mapush.reports.run_data import RunData
from mapush.reports.run_figures import columns_with
from mapush.run import checkpoint as checkpoints

LEARNER = {
    "train/value_loss": "value loss",
    "train/policy_loss": "policy loss",
    "train/entropy": "entropy of the policy [nats]",
    "train/std": "standard deviation of actions",
    "train/ratio": "probability ratio after the update",
    "train/actor_grad_norm": "gradient norm of the actors",
    "train/critic_grad_norm": "gradient norm of the critic",
}


def write_training(runs: Sequence[RunData], path: Path) -> Path:
    """Write the report of `runs`, the first of which is the one that the others are compared with, to `path`."""
    logged = [run for run in runs if run.log]
    sections = [part(logged) for part in (_learning, _rewards, _learner, _resources)] if logged else []
    sections += [_checkpoints(runs), _configuration(runs), _versions(runs)]
    if any(run.missing for run in runs):
        sections.append(_missing(runs))
    title = " and ".join(run.name for run in runs) if len(runs) < 3 else f"{len(runs)} runs"
    tasks = " and ".join(sorted({run.task_name for run in runs}))
    page = Page(f"Training: {title}", _subtitle(runs, tasks), _tiles(runs), sections, _footer())
    path.write_text(page.html(), encoding="utf-8")
    return path


def _subtitle(runs: Sequence[RunData], tasks: str) -> str:
    presets = " and ".join(sorted({str(run.settings.get("preset")) for run in runs}))
    steps = ", ".join(
        "{} of {} M env steps".format(_millions(run.last("step")), _millions(run.settings.get("total_steps")))
        for run in runs
    )
    return f"Task {tasks}, preset {presets}; {steps}."


def _footer() -> str:
    return "Made on {} from {}.".format(time.strftime("%Y-%m-%d at %H:%M"), "the run folders")


def _millions(steps: Optional[float]) -> str:
    return number(None if steps is None else steps / 1e6)


def _tiles(runs: Sequence[RunData]) -> List[Tile]:
    if len(runs) > 1:
        return [Tile(run.name, number(_success(run)), f"succeed; {_success_note(run)}") for run in runs]
    run = runs[0]
    return [
        Tile("success rate", number(_success(run)), _success_note(run)),
        Tile("mean return", number(run.last("episode/return")), "of the most recent episodes"),
        Tile(
            "env steps",
            _millions(run.last("step")) + " M",
            "of {} M".format(_millions(run.settings.get("total_steps"))),
        ),
        Tile("speed", number(run.last("fps")), "env-steps/s, mean since the start or the last resume"),
        Tile("memory", number(run.last("rss_mib"), unit="MiB"), "resident, at the end"),
    ]


def _success(run: RunData) -> Optional[float]:
    return run.results[-1].success_rate if run.results else run.last("episode/success")


def _success_note(run: RunData) -> str:
    if not run.results:
        return "of the most recent episodes of training"
    newest = run.results[-1]
    return f"{interval((newest.interval[0], newest.interval[1]))} after {_millions(newest.step)} M env steps, evaluated"


def _missing(runs: Sequence[RunData]) -> Section:
    rows = [[run.name, text] for run in runs for text in run.missing]
    return Section("What could not be shown", [Table(["run", "because"], rows, texts=2)])


def _learning(runs: Sequence[RunData]) -> Section:
    caption = (
        "Lines: success rate of the most recent 1,000 episodes while training, with exploration; dots: of checkpoints, "
        "evaluated without it, with 95 % intervals; dashed: what MAPush published."
    )
    blocks: List[Block] = []
    if columns_with(runs, "episode/success".__eq__):
        blocks.append(Figure(figures.success(runs), caption, wide=True))
    titles = {
        "episode/return": "return, mean over the team",
        "episode/length": "length [env steps]",
        "episode/finished_time": "finished time [s]",
        "episode/collaboration": "collaboration",
    }
    caption = "Means over the most recent 1,000 episodes; a finished time counts a failure as the longest episode."
    blocks += _panels("episodes", runs, titles, caption)
    ended = [run for run in runs if run.last("episode/success") is not None]
    caption = "How the most recent 1,000 episodes ended; the green part is the success rate of training."
    blocks += [Figure(figures.endings(f"endings{k}", run), caption) for k, run in enumerate(ended)]
    return Section("Learning", blocks)


def _rewards(runs: Sequence[RunData]) -> Section:
    names = columns_with(runs, lambda name: name.startswith("reward/"))
    titles = {name: name.split("/")[1].replace("_", " ") for name in sorted(names, key="reward/total".__ne__)}
    caption = "Mean per decision of each weighted term since the row before; they add up to the total."
    return Section("Reward terms", _panels("rewards", runs, titles, caption))


def _learner(runs: Sequence[RunData]) -> Section:
    caption = (
        "What the learner says of its last update; a healthy entropy falls slowly, and a healthy ratio stays near 1."
    )
    titles = {name: title for name, title in LEARNER.items() if columns_with(runs, name.__eq__)}
    others = columns_with(runs, lambda name: name.startswith("train/") and name not in LEARNER)
    more = {name: name.split("/", 1)[1].replace("_", " ") for name in others}
    blocks = _panels("learner", runs, titles, caption)
    return Section("Learner", blocks + _panels("agents", runs, more, "The same, agent by agent.", "Agent by agent"))


def _resources(runs: Sequence[RunData]) -> Section:
    titles = {"fps": "env-steps/s", "rss_mib": "resident memory [MiB]"}
    titles.update(
        {name: name[4:].replace("_", " ") for name in columns_with(runs, lambda name: name.startswith("sim/"))}
    )
    caption = "Speed is the mean since the start or the last resume; memory that grows without end is a leak."
    return Section("Speed and memory", _panels("resources", runs, titles, caption))


def _panels(name: str, runs: Sequence[RunData], titles: Dict[str, str], caption: str, summary: str = "") -> List[Block]:
    shown = {column: title for column, title in titles.items() if columns_with(runs, column.__eq__)}
    return [Figure(figures.panels(name, runs, shown), caption, wide=True, summary=summary)] if shown else []


def _checkpoints(runs: Sequence[RunData]) -> Section:
    rows: List[List[str]] = []
    for run in runs:
        scores = {result.step: result for result in run.results}
        for path in run.checkpoints:
            step, size = checkpoints.step_of(path), f"{path.stat().st_size / 2**20:.1f}"
            written = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
            score = scores.get(step)
            told = (
                [number(score.success_rate), interval((score.interval[0], score.interval[1]))] if score else ["–", ""]
            )
            rows.append([run.name, _millions(step), size, written, *told])
    headings = ["run", "M steps", "MiB", "written", "success rate", "95 % interval"]
    return Section("Checkpoints", [Table(headings, rows or [["none yet"]])])


def _configuration(runs: Sequence[RunData]) -> Section:
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    rows = [[name, *(_setting(run.settings, name) for run in runs), _presets(runs, name)] for name in names]
    differs = [index for index, name in enumerate(names) if _differs(runs, name)]
    headings = ["setting", *(run.name for run in runs), "preset"]
    text = "Settings that differ from the preset, or from run to run, are marked."
    marked = Table(headings, [rows[index] for index in differs], marked=range(len(differs)))
    return Section("Configuration", [marked, Table(headings, rows, marked=differs, summary="All settings")], text)


def _differs(runs: Sequence[RunData], name: str) -> bool:
    values = [run.settings.get(name) for run in runs]
    from_preset = any(run.preset and run.preset.get(name) != run.settings.get(name) for run in runs)
    return from_preset or any(value != values[0] for value in values)


def _presets(runs: Sequence[RunData], name: str) -> str:
    return ", ".join(dict.fromkeys(_setting(run.preset, name) for run in runs))


def _setting(settings: Dict[str, Any], name: str) -> str:
    value = settings.get(name, "–")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _versions(runs: Sequence[RunData]) -> Section:
    names = list(dict.fromkeys(name for run in runs for name in run.versions))
    rows = [[Cell(name), *(Cell(run.versions.get(name, "–")) for run in runs)] for name in names]
    return Section("Versions", [Table(["", *(run.name for run in runs)], rows or [["not known"]])])
