"""The report of an evaluation: one page, the numbers of each episode, trajectories, and recordings of the worst."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Mapping, Optional, Sequence

import numpy as np

from mapush.env.metrics import wilson_interval
from mapush.env.terminations import MAX_EPISODE_LENGTH, SUCCESS_DISTANCE
from mapush.errors import ConfigError
from mapush.objects import OBJECTS, PushObject
from mapush.reports import evaluation_figures as figures
from mapush.reports.episode_data import BACK, REASONS, STILL, Episodes, episodes_of
from mapush.reports.evaluation_data import Policy, record, write_table, write_trajectories
from mapush.reports.page import Cell, Figure, Page, Section, Table, Tile, interval, number, short_names
from mapush.reports.published import EPISODES, PUBLISHED, STEPS_BETWEEN
from mapush.run.versions import versions
from mapush.sim.physics import STEP_DT

if TYPE_CHECKING:
    from mapush.evaluation.results import Evaluation

PAGE, TABLE, TRAJECTORIES, RECORDINGS = "index.html", "episodes.csv", "trajectories.npz", "episodes"
WORST = 3  # episodes of each policy that are recorded

Evaluations = Mapping[str, Sequence["Evaluation"]]  # of each policy or run, by name, oldest first


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the policies were evaluated.

    Attributes:
      task_name: cuboid, tblock or cylinder.
      num_envs: parallel envs.
      seed: of starts and of what differs between envs.
      simulator: its name.
    """

    task_name: str
    num_envs: int
    seed: int
    simulator: str


def require_folder(folder: Path) -> None:
    """Make the folder of a report, before anything is computed for it.

    Raises:
      ConfigError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).open("a").close()
    except OSError as error:
        raise ConfigError(
            "the report cannot be written there", where=str(folder), got=error.strerror, fix="name another --report DIR"
        ) from error


def write_evaluation(folder: Path, setting: Setting, evaluations: Evaluations) -> Path:
    """Write the report, and return the path of its page.

    Args:
      folder: see `require_folder`.
      setting: how the policies were evaluated.
      evaluations: of each; of those with a trace, the last one of each is shown episode by episode.
    """
    item = OBJECTS[setting.task_name]
    names = short_names(list(evaluations))
    traced = [(name, group[-1].trace) for name, group in zip(names, evaluations.values()) if group[-1].trace]
    policies = [Policy(name, trace, episodes_of(trace, item.spawn_height)) for name, trace in traced]
    named = dict(zip(names, evaluations.values()))
    sections = [_measures(setting, named), _progress(setting, named)]
    if policies:
        write_table(folder / TABLE, policies)
        write_trajectories(folder / TRAJECTORIES, policies)
        sections += [_goals(policies, item), _failures(policies, item), _paths(policies)]
        sections.append(_recordings(folder, setting, policies))
    sections.append(_data(bool(policies)))
    page = Page(_title(setting, named), _subtitle(setting, evaluations), _tiles(setting, named), sections, _footer())
    (folder / PAGE).write_text(page.html(), encoding="utf-8")
    return folder / PAGE


# -- the page --------------------------------------------------------------------------------------------------------


def _title(setting: Setting, evaluations: Evaluations) -> str:
    return "{}: {}".format(setting.task_name, " and ".join(evaluations) if len(evaluations) < 3 else "a comparison")


def _subtitle(setting: Setting, evaluations: Evaluations) -> str:
    protocol = "First episode of each of {} envs, seed {}, deterministic actions, simulator {}."
    return "{} Evaluated: {}.".format(
        protocol.format(setting.num_envs, setting.seed, setting.simulator), ", ".join(evaluations)
    )


def _footer() -> str:
    parts = [f"{name} {version}" for name, version in versions().items()]
    return "Made on {} with {}.".format(time.strftime("%Y-%m-%d at %H:%M"), ", ".join(parts))


def _tiles(setting: Setting, evaluations: Evaluations) -> List[Tile]:
    published = PUBLISHED[setting.task_name][-1]
    if len(evaluations) > 1:
        newest = {name: group[-1].metrics for name, group in evaluations.items()}
        tiles = [
            Tile(name, number(metrics.success_rate), f"succeed; {interval(metrics.success_rate_interval)}")
            for name, metrics in newest.items()
        ]
        return tiles + [Tile("MAPush, published", number(published.success_rate), "succeed")]
    evaluation = next(iter(evaluations.values()))[-1]
    metrics = evaluation.metrics
    told = "{}; MAPush, published: {}"
    return [
        Tile(
            "success rate",
            number(metrics.success_rate),
            told.format(interval(metrics.success_rate_interval), number(published.success_rate)),
        ),
        Tile(
            "finished time",
            number(metrics.finished_time, unit="s"),
            told.format(interval(metrics.finished_time_interval), number(published.finished_time)),
        ),
        Tile("time of the successes", number(evaluation.success_time, unit="s"), "mean"),
        Tile(
            "collaboration degree",
            number(metrics.collaboration_degree),
            told.format(interval(metrics.collaboration_degree_interval), number(published.collaboration_degree)),
        ),
        Tile("collision degree", number(metrics.collision_degree), "of object and obstacles; this task has none"),
    ]


_HEADINGS = (
    "M steps",
    "success rate",
    "finished time [s]",
    "of successes [s]",
    "collaboration degree",
    "collision degree",
    "collisions",
    "falls",
    "time-outs",
)


def _row(name: str, evaluation: Evaluation) -> List[Cell]:
    metrics = evaluation.metrics
    rate, bounds = metrics.success_rate, metrics.success_rate_interval
    return [
        Cell(name),
        Cell(number(evaluation.step / 1e6)),
        Cell(number(rate), interval(bounds), bar=(rate, *bounds)),
        Cell(number(metrics.finished_time), interval(metrics.finished_time_interval)),
        Cell(number(evaluation.success_time)),
        Cell(number(metrics.collaboration_degree), interval(metrics.collaboration_degree_interval)),
        Cell(number(metrics.collision_degree)),
        *(Cell(str(metrics.endings[cause])) for cause in ("collision", "fall", "timeout")),
    ]


def _published_row(task_name: str) -> List[Cell]:
    published = PUBLISHED[task_name]
    rate, seconds, collaboration = published[-1]
    bounds = wilson_interval(round(rate * EPISODES), EPISODES)
    of_successes = (seconds - (1.0 - rate) * MAX_EPISODE_LENGTH * STEP_DT) / rate
    return [
        Cell("MAPush, published"),
        Cell(number(len(published) * STEPS_BETWEEN / 1e6)),
        Cell(number(rate), interval(bounds), bar=(rate, *bounds)),
        *(Cell(number(value)) for value in (seconds, of_successes, collaboration, 0.0)),
        *[Cell("–")] * 3,
    ]


def _measures(setting: Setting, evaluations: Evaluations) -> Section:
    rows = [_row(name, group[-1]) for name, group in evaluations.items()] + [_published_row(setting.task_name)]
    note = (
        "Of a run, its newest checkpoint. Finished time counts 20 s for a failure; collaboration is the share of the "
        "time in which all robots are within 1 m of the object, over successes. MAPush's figures are from another "
        f"simulator; the interval of its success rate is computed here for its {EPISODES} episodes."
    )
    return Section("Measures", [Table(["policy", *_HEADINGS], rows, marked=[len(rows) - 1], note=note)])


def _progress(setting: Setting, evaluations: Evaluations) -> Section:
    curves = {
        name: [(item.step, item.metrics.success_rate, item.metrics.success_rate_interval) for item in group]
        for name, group in evaluations.items()
    }
    caption = (
        "Success rate of each checkpoint over the env steps it was trained for (higher and further left is better); "
        "bars are 95 % intervals, the dashed line is MAPush's published curve."
    )
    blocks = [Figure(figures.progress(curves, setting.task_name), caption, wide=True)]
    several = {name: group for name, group in evaluations.items() if len(group) > 1}
    tables = [
        Table(["checkpoint", *_HEADINGS], [_row(item.path.name, item) for item in group], summary="All of " + name)
        for name, group in several.items()
    ]
    return Section("Success over training", [*blocks, *tables])


def _each(
    policies: Sequence[Policy],
    draw: Callable[[str, str, Episodes], figures.Markup],
    name: str,
    caption: str,
    wide: bool = False,
) -> List[Figure]:
    """Draw one figure for each policy, with its name where there are several."""
    titles = [policy.name if len(policies) > 1 else "" for policy in policies]
    return [
        Figure(draw(f"{name}{index}", title, policy.episodes), caption, wide)
        for index, (policy, title) in enumerate(zip(policies, titles))
    ]


def _goals(policies: Sequence[Policy], item: PushObject) -> Section:
    caption = (
        "The object from above at the start, with its own x axis; each cell holds the episodes whose goal lay at that "
        "distance in that direction, and says how many of them succeeded. Green is good, orange is bad."
    )
    text = (
        "Directions are in the object's own frame at the start, because where the goal lies in the world makes no "
        "difference, but which side of the object has to be pushed may."
    )
    rates = "The same by distance and by direction alone, with 95 % intervals; what lies within them may be chance."
    blocks = _each(policies, partial(figures.goal_map, item=item), "goals", caption)
    by_goal = figures.rates_by_goal({policy.name: policy.episodes for policy in policies})
    return Section("Where the goal was", [*blocks, Figure(by_goal, rates, wide=len(policies) > 1)], text)


def _failures(policies: Sequence[Policy], item: PushObject) -> Section:
    limit = MAX_EPISODE_LENGTH * STEP_DT
    over_time = (
        f"Episodes by the second in which they ended, stacked by how; one whose time is up ends after {limit:g} s."
    )
    where = (
        "Where robots collided (between the two) and fell, seen from above with the object in the middle (grey: the "
        "circle around it) and the goal to the right."
    )
    blocks: List[Figure] = _each(policies, figures.endings_over_time, "endings", over_time)
    clashed = [policy for policy in policies if np.isin(policy.episodes.ending, ("collision", "fall")).any()]
    if clashed:
        blocks += _each(clashed, partial(figures.failure_map, item=item), "spots", where)
    return Section("When, where and why episodes fail", [*blocks, _reasons(policies)])


def _reasons(policies: Sequence[Policy]) -> Table:
    rows = [
        [policy.name, ending, reason, *_reason_cells(policy.episodes, policy.episodes.reason == reason)]
        for policy in policies
        for ending, reasons in REASONS.items()
        for reason in reasons
        if (policy.episodes.reason == reason).any()
    ]
    headings = ["policy", "ended by", "because", "episodes", "share", "time [s]", "left to go [m]", "least so far [m]"]
    note = (
        f"Times and distances are medians. An object hardly moved if its path is shorter than {STILL:g} m, and moved "
        f"away again if it ended {BACK:g} m farther from the goal than it had been; within {SUCCESS_DISTANCE:g} m the "
        "goal counts as reached."
    )
    return Table(headings, rows or [["–", "–", "no episode failed"]], texts=3, note=note)


def _reason_cells(episodes: Episodes, chosen: np.ndarray) -> List[str]:
    numbers = (episodes.seconds, episodes.final_distance, episodes.least_distance)
    medians = [number(float(np.median(values[chosen]))) for values in numbers]
    return [str(int(chosen.sum())), f"{chosen.mean():.1%}", *medians]


def _paths(policies: Sequence[Policy]) -> Section:
    caption = (
        "Paths of the object from above, turned so that the goal (+) is to the right of every start; inside the green "
        "disc the goal counts as reached. Colours tell how the episode ended, crosses where."
    )
    return Section("Paths of the object", _each(policies, figures.paths, "paths", caption, wide=True))


_TRAJECTORIES = (
    "its episodes in the order of the rows of {}: lengths [env steps], goals [m], qpos (of each one more than its "
    "length) and commands, one episode after the other"
)


def _data(traced: bool) -> Section:
    rows = [["results.json", "the measures of every checkpoint"]]
    if traced:
        rows += [
            [TABLE, "one row for each episode"],
            [TRAJECTORIES, _TRAJECTORIES.format(TABLE)],
        ]
    return Section("Data", [Table(["file", "holds"], [[Cell(name, href=name), text] for name, text in rows], texts=2)])


# -- recordings ------------------------------------------------------------------------------------------------------


def _recordings(folder: Path, setting: Setting, policies: Sequence[Policy]) -> Section:
    rows: List[List[Cell]] = []
    problem: Optional[str] = None
    for index, policy in enumerate(policies):
        for env_id in policy.episodes.worst(WORST):
            name = "{}/{}env{:03d}.html".format(RECORDINGS, f"policy{index}_" if index else "", env_id)
            problem = problem or record(folder / name, setting.task_name, policy, env_id)
            rows.append(_recording_row(policy, env_id, "" if problem else name))
    headings = [
        "policy",
        "ended by",
        "because",
        "env",
        "goal at [m]",
        "towards [°]",
        "time [s]",
        "left to go [m]",
        "watch",
    ]
    text = "Failed episodes that ended farthest from the goal; where none failed, those that took longest."
    return Section("The worst episodes", [Table(headings, rows, texts=3, note=problem or "")], text)


def _recording_row(policy: Policy, env_id: int, href: str) -> List[Cell]:
    episodes = policy.episodes
    numbers = (episodes.goal_distance, episodes.goal_direction, episodes.seconds, episodes.final_distance)
    distance, direction, seconds, left = (number(float(values[env_id])) for values in numbers)
    why = (episodes.ending[env_id], episodes.reason[env_id] or "–")
    texts = [*why, str(env_id), distance, direction, seconds, left]
    return [Cell(text) for text in [policy.name, *texts]] + [Cell("replay" if href else "–", href=href)]
