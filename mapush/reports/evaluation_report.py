"""The report of an evaluation: a page, the numbers of each episode, trajectories, and recordings of the worst ones."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Callable, List, Mapping, Optional, Sequence

from mapush.env.metrics import wilson_interval
from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.errors import ConfigError
from mapush.evaluation.results import Evaluation
from mapush.objects import OBJECTS
from mapush.reports import evaluation_figures as figures
from mapush.reports.episode_data import episodes_of
from mapush.reports.episode_sections import failure_section, goal_section, path_section, recording_section
from mapush.reports.evaluation_data import TracedPolicy, record_episode, write_table, write_trajectories
from mapush.reports.formatting import (
    RATE_DECIMALS,
    TIME_DECIMALS,
    UNKNOWN,
    Bounds,
    fixed,
    interval,
    millions,
    rate,
    short_names,
)
from mapush.reports.page import Block, Cell, Figure, Page, Row, Section, Table, Tile
from mapush.reports.published import EPISODES, PUBLISHED, STEPS_BETWEEN
from mapush.run.shown_progress import SilentProgress
from mapush.run.versions import versions
from mapush.sim.physics import STEP_DT

RESULTS = "results.json"
PAGE, TABLE, TRAJECTORIES, RECORDINGS = "index.html", "episodes.csv", "trajectories.npz", "episodes"

Evaluations = Mapping[str, Sequence[Evaluation]]  # of each policy or run, by name, oldest first
Recorder = Callable[[Path, str, TracedPolicy, int], Optional[str]]  # see `record_episode`


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the policies were evaluated.

    Attributes:
      task_name: name of the object.
      num_envs: parallel envs.
      seed: seed of the initial states and of the randomization.
      simulator: name of the simulator.
      episodes: episodes in all; None if one of each env counts.
    """

    task_name: str
    num_envs: int
    seed: int
    simulator: str
    episodes: Optional[int] = None


def require_folder(folder: Path, overwrite: bool = False) -> None:
    """Make the folder of a report; call it before anything is computed for the report.

    Args:
      folder: the folder.
      overwrite: whether a page that is no report on an evaluation may be replaced.

    Raises:
      ConfigError: the folder cannot be made or written to, or has such a page.
    """
    page = folder / PAGE
    if page.is_file() and page.stat().st_size > 0 and not (folder / RESULTS).is_file() and not overwrite:
        fix = "--overwrite replaces it; or name a different --report DIR"
        raise ConfigError("the report would replace a different page", where=str(page), fix=fix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).open("a").close()
    except OSError as error:
        what, fix = "the report cannot be written there", "name a different --report DIR"
        raise ConfigError(what, where=str(folder), got=error.strerror, fix=fix) from error


def write_evaluation(
    folder: Path,
    setting: Setting,
    evaluations: Evaluations,
    record: Recorder = record_episode,
    progress: Optional[SilentProgress] = None,
) -> Path:
    """Write the report, and return the path of its page.

    Args:
      folder: the folder of the report, see `require_folder`.
      setting: how the policies were evaluated.
      evaluations: the evaluations of each policy or run; if the last one has a trace, its episodes are shown.
      record: writes the recording of one episode.
      progress: gets the sections of the page.
    """
    progress = progress or SilentProgress()
    progress.stage("report: measures")
    names = short_names(list(evaluations))
    named = dict(zip(names, evaluations.values()))
    policies = _traced(setting, named)
    sections = [_measures(setting, named), _progress(setting, named)]
    if policies:
        item = OBJECTS[setting.task_name]
        progress.stage("report: data of all episodes")
        write_table(folder / TABLE, policies)
        write_trajectories(folder / TRAJECTORIES, policies)
        progress.stage("report: figures of the episodes")
        sections.append(goal_section(policies, item))
        sections.append(failure_section(policies, item))
        sections.append(path_section(policies, item))

        def record_to(name: str, policy: TracedPolicy, env_id: int) -> Optional[str]:
            progress.stage(f"report: recording env {env_id} of {policy.name}")
            return record(folder / name, setting.task_name, policy, env_id)

        sections.append(recording_section(policies, RECORDINGS, record_to))
    sections.append(_data(bool(policies)))
    page = Page(
        title=_title(setting, named),
        subtitle=_subtitle(setting, evaluations),
        tiles=_tiles(setting, named),
        sections=sections,
        footer=_footer(),
    )
    (folder / PAGE).write_text(page.html(), encoding="utf-8")
    return folder / PAGE


def _traced(setting: Setting, evaluations: Evaluations) -> List[TracedPolicy]:
    """Return the newest policy of each run, if its episodes were traced."""
    spawn_height = OBJECTS[setting.task_name].spawn_height
    policies: List[TracedPolicy] = []
    for name, group in evaluations.items():
        trace = group[-1].trace
        if trace is not None:
            policies.append(TracedPolicy(name, trace, episodes_of(trace, spawn_height)))
    return policies


# -- head and foot ---------------------------------------------------------------------------------------------------


def _title(setting: Setting, evaluations: Evaluations) -> str:
    if len(evaluations) > 2:
        return f"{setting.task_name}: a comparison"
    return f"{setting.task_name}: {' and '.join(evaluations)}"


def _subtitle(setting: Setting, evaluations: Evaluations) -> str:
    counted = f"First episode of each of {setting.num_envs} envs"
    if setting.episodes not in (None, setting.num_envs):
        counted = f"{setting.episodes} episodes, shared out evenly among {setting.num_envs} envs"
    rates = [f"{name}: {group[-1].decision_rate}" for name, group in evaluations.items()]
    return (
        f"{counted}, seed {setting.seed}, deterministic actions, simulator {setting.simulator}. "
        f"Evaluated: {'; '.join(rates)}."
    )


def _footer() -> str:
    parts = [f"{name} {version}" for name, version in versions().items()]
    now = time.strftime("%Y-%m-%d at %H:%M")
    return f"Made on {now} with {', '.join(parts)}."


def _tiles(setting: Setting, evaluations: Evaluations) -> List[Tile]:
    if len(evaluations) > 1:
        return _tiles_of_several(setting, evaluations)
    (group,) = evaluations.values()
    evaluation = group[-1]
    metrics, published = evaluation.metrics, PUBLISHED.get(setting.task_name)

    def note(bounds: Bounds, measure: str) -> str:
        decimals = RATE_DECIMALS
        if measure == "finished_time":
            decimals = TIME_DECIMALS
        text = interval(bounds, decimals)
        if published is None:
            return text
        return f"{text}; MAPush, published: {fixed(getattr(published[-1], measure), decimals)}"

    rate_note = note(metrics.success_rate_interval, "success_rate")
    time_note = note(metrics.finished_time_interval, "finished_time")
    collaboration_note = note(metrics.collaboration_degree_interval, "collaboration_degree")
    return [
        Tile("success rate", rate(metrics.success_rate), rate_note),
        Tile("finished time", fixed(metrics.finished_time, TIME_DECIMALS, "s"), time_note),
        Tile(
            "time of the successes",
            fixed(evaluation.success_time, TIME_DECIMALS, "s"),
            "mean over the successful episodes",
        ),
        Tile("collaboration degree", rate(metrics.collaboration_degree), collaboration_note),
        Tile("collision rate", rate(metrics.collision_rate), interval(metrics.collision_rate_interval)),
        Tile("collision degree", rate(metrics.collision_degree), "with obstacles, of which this task has none"),
    ]


def _tiles_of_several(setting: Setting, evaluations: Evaluations) -> List[Tile]:
    tiles: List[Tile] = []
    for name, group in evaluations.items():
        metrics = group[-1].metrics
        tiles.append(Tile(name, rate(metrics.success_rate), f"success rate; {interval(metrics.success_rate_interval)}"))
    if setting.task_name in PUBLISHED:
        published = PUBLISHED[setting.task_name][-1]
        tiles.append(Tile("MAPush, published", rate(published.success_rate), "success rate"))
    return tiles


# -- measures --------------------------------------------------------------------------------------------------------

_HEADINGS = (
    "M steps",
    "success rate",
    "finished time [s]",
    "of successes [s]",
    "collaboration degree",
    "collision rate",
    "collision degree",
    "collisions",
    "falls",
    "time-outs",
)


def _row(name: str, evaluation: Evaluation, steps: str) -> List[Cell]:
    metrics = evaluation.metrics
    endings = metrics.endings
    return [
        Cell(name),
        Cell(steps),
        _rate_cell(metrics.success_rate, metrics.success_rate_interval),
        Cell(fixed(metrics.finished_time, TIME_DECIMALS), interval(metrics.finished_time_interval, TIME_DECIMALS)),
        Cell(fixed(evaluation.success_time, TIME_DECIMALS)),
        Cell(rate(metrics.collaboration_degree), interval(metrics.collaboration_degree_interval)),
        _rate_cell(metrics.collision_rate, metrics.collision_rate_interval),
        Cell(rate(metrics.collision_degree)),
        Cell(str(endings["collision"])),
        Cell(str(endings["fall"])),
        Cell(str(endings["timeout"])),
    ]


def _published_row(task_name: str, steps: str) -> List[Cell]:
    published = PUBLISHED[task_name]
    success, seconds, collaboration = published[-1]
    bounds = wilson_interval(round(success * EPISODES), EPISODES)
    success_seconds = (seconds - (1.0 - success) * MAX_EPISODE_LENGTH * STEP_DT) / success
    return [
        Cell("MAPush, published"),
        Cell(steps),
        _rate_cell(success, bounds),
        Cell(fixed(seconds, TIME_DECIMALS)),
        Cell(fixed(success_seconds, TIME_DECIMALS)),
        Cell(rate(collaboration)),
        Cell(UNKNOWN),
        Cell(rate(0.0)),
        Cell(UNKNOWN),
        Cell(UNKNOWN),
        Cell(UNKNOWN),
    ]


def _rate_cell(value: float, bounds: Bounds) -> Cell:
    low, high = bounds
    return Cell(rate(value), interval(bounds), bar=(value, low, high))


def _measures(setting: Setting, evaluations: Evaluations) -> Section:
    column: List[Optional[float]] = [group[-1].step for group in evaluations.values()]
    column.append(len(PUBLISHED.get(setting.task_name, ())) * STEPS_BETWEEN)
    *steps, published_steps = millions(column)
    rows: List[Row] = []
    for (name, group), text in zip(evaluations.items(), steps):
        rows.append(_row(name, group[-1], text))
    marked: List[int] = []
    if setting.task_name in PUBLISHED:
        marked.append(len(rows))
        rows.append(_published_row(setting.task_name, published_steps))
    note = (
        "A run is represented by its newest checkpoint. The finished time counts a failure as 20 s; the collaboration "
        "degree is the share of the time in which all robots are within 1 m of the object, over successful episodes; "
        "the collision rate is the share of the episodes that a collision of robots ended."
    )
    if setting.task_name in PUBLISHED:
        note += (
            " MAPush's results are from a different simulator; the interval of its success rate is computed here for "
            f"its {EPISODES} episodes."
        )
    return Section("Measures", [Table(["policy", *_HEADINGS], rows, marked=marked, note=note)])


def _progress(setting: Setting, evaluations: Evaluations) -> Section:
    caption = (
        "Success rate of each checkpoint over its env steps of training (higher and further left is better). Bars are "
        "95 % intervals."
    )
    if setting.task_name in PUBLISHED:
        caption = f"{caption[:-1]}; the dashed line is MAPush's published curve."
    blocks: List[Block] = [Figure(figures.progress(evaluations, setting.task_name), caption, wide=True)]
    for name, group in evaluations.items():
        if len(group) > 1:
            steps = millions([evaluation.step for evaluation in group])
            rows = [_row(_file_name(evaluation), evaluation, text) for evaluation, text in zip(group, steps)]
            blocks.append(Table(["checkpoint", *_HEADINGS], rows, summary=f"All of {name}"))
    return Section("Success over training", blocks)


def _file_name(evaluation: Evaluation) -> str:
    if evaluation.path is None:
        return "untrained"
    return evaluation.path.name


# -- files -----------------------------------------------------------------------------------------------------------


def _data(traced: bool) -> Section:
    """List the files in the folder of the page."""
    rows = [_file_row(RESULTS, "the measures of all checkpoints")]
    if traced:
        rows.append(_file_row(TABLE, "one row per episode"))
        rows.append(
            _file_row(
                TRAJECTORIES,
                f"the same episodes, in the order of the rows of {TABLE}: lengths [env steps], goals [m], and, one "
                "episode after the other, qpos (length + 1 rows per episode) and commands (length rows per episode)",
            )
        )
    return Section("Data", [Table(["file", "holds"], rows, texts=2)])


def _file_row(name: str, content: str) -> List[Cell]:
    return [Cell(name, href=name), Cell(content)]
