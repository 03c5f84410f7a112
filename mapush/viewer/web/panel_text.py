"""The text of the panel, as HTML."""

from __future__ import annotations

import math
from typing import Dict, List, Sequence, Tuple

import jinja2

from mapush.evaluation.episode import Episode, Frame
from mapush.sim.physics import STEP_DT
from mapush.viewer.overlay import OBJECT_COLOUR, ROBOT_COLOURS, TURN_COLOUR, WALK_COLOUR, Colour
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard

Rows = List[Tuple[str, str]]  # names and values of a table
Badge = Tuple[str, str]  # text and colour

KEYS = {
    "space": "Pause or resume",
    "arrowright": "One step on",
    "arrowleft": "One step back",
    "arrowdown": "Next episode",
    "arrowup": "Previous episode",
    "N": "Next episode (as in the window)",
    "P": "Previous episode (as in the window)",
}
"""Keys of the page, by viser's names, and what they do."""
SHOWN_KEYS = [
    ("space", "pause"),
    ("← →", "one step back, on"),
    ("↑ ↓", "previous, next episode"),
    ("W S A D Q E X", "steer the robot"),
]
CURVE_WIDTH, CURVE_HEIGHT = 300.0, 70.0  # of the reward curve [px]
CURVE_POINTS = 150  # of the reward curve, at most

STATUS_COLOURS = {"live": "#2b8a3e", "paused": "#e67700", "replay": "#1971c2", "success": "#2b8a3e"}
FAILURE_COLOUR = "#c92a2a"

_MACROS = """
{%- macro table(rows, columns=1) -%}
<div style="columns:{{ columns }};column-gap:1em;font-variant-numeric:tabular-nums;
font-size:{{ 1.0 if columns == 1 else 0.88 }}em">
{%- for name, value in rows -%}
<div style="display:flex;justify-content:space-between">
<span style="opacity:0.7">{{ name }}</span><span data-name="{{ name }}">{{ value }}</span></div>
{%- endfor -%}
</div>
{%- endmacro -%}
{%- macro title(text) -%}
<div style="font-weight:600;margin-top:0.5em;border-bottom:1px solid rgba(128,128,128,0.3)">{{ text }}</div>
{%- endmacro -%}
"""
_FRAME = """
<div style="padding:0.35em 0.9em 0;font-size:0.9em;line-height:1.45">
<b data-name="episode" style="font-size:1.1em">Episode {{ number }}</b>
{% for text, colour in badges -%}
<span data-name="status" style="background:{{ colour }};color:white;border-radius:4px;padding:1px 7px;font-weight:600;
font-size:0.85em">{{ text }}</span>
{% endfor -%}
{{ table(rows) }}</div>
"""
_REST = """
<div style="padding:0.35em 0.9em 0;font-size:0.9em;line-height:1.45">
{%- if rewards -%}
{{ title("Reward of the last decision") }}{{ table(rewards, columns=2) }}
{%- endif -%}
{{ title(heading) }}{{ table(totals) }}{{ title("Keys") }}{{ table(keys) }}{{ title("Colours") }}
{%- for name, colour in legend -%}
<span style="white-space:nowrap;margin-right:0.8em"><span style="color:{{ colour }}">&#9679;</span> {{ name }}</span>
{% endfor -%}
</div>
"""
_CURVE = """
<div style="padding:0.35em 0.9em 0;font-size:0.9em;line-height:1.45">{{ title("Reward of each decision, over time") }}
<svg data-name="reward curve" viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="reward over the episode"
style="display:block;width:100%;height:{{ height }}px;margin-top:0.3em" preserveAspectRatio="none">
<line x1="0" x2="{{ width }}" y1="{{ zero }}" y2="{{ zero }}" stroke="currentColor" stroke-opacity="0.25"/>
<polyline points="{{ points }}" fill="none" stroke="#1c7ed6" stroke-width="1.5" vector-effect="non-scaling-stroke"/>
<line x1="{{ now }}" x2="{{ now }}" y1="0" y2="{{ height }}" stroke="currentColor" stroke-opacity="0.6"/>
</svg>
<div style="display:flex;justify-content:space-between;font-size:0.85em;opacity:0.7;font-variant-numeric:tabular-nums">
<span>0 s</span><span>{{ low }} to {{ high }}, sum {{ total }}</span><span>{{ seconds }} s</span></div>
</div>
"""
_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
_FRAME_TEMPLATE = _ENVIRONMENT.from_string(_MACROS + _FRAME)
_CURVE_TEMPLATE = _ENVIRONMENT.from_string(_MACROS + _CURVE)
_REST_TEMPLATE = _ENVIRONMENT.from_string(_MACROS + _REST)


def frame_text(episode: Episode, step: int, transport: Transport, board: Scoreboard) -> str:
    """Return the HTML that changes with every frame: status, time and distance.

    Args:
      episode: the episode, which may grow meanwhile.
      step: the env step, counted from 0.
      transport: says whether the player is paused, and whether this is a replay.
      board: the results of the episodes before.
    """
    rows = [
        ("time", f"{(step + 1) * STEP_DT:.2f} s"),
        ("object to goal", f"{episode.frames[step].distance:.2f} m"),
        ("last episode", board.last or "none yet"),
    ]
    badges = _badges(episode, step, transport)
    return _FRAME_TEMPLATE.render(number=episode.number, badges=badges, rows=rows)


def rest_text(episode: Episode, step: int, board: Scoreboard) -> str:
    """Return the HTML that changes slowly: the reward at an env step, the totals so far, and the legend."""
    frame = episode.frames[step]
    heading = f"Over {board.tally.played} episodes"
    if board.episodes is not None:
        heading = f"Over {board.tally.played} of {board.episodes} episodes"
    return _REST_TEMPLATE.render(
        rewards=_reward_rows(frame.rewards),
        heading=heading,
        totals=_total_rows(board),
        keys=SHOWN_KEYS,
        legend=_legend(len(frame.robots)),
    )


def reward_curve(episode: Episode, step: int) -> str:
    """Return the HTML of a curve: the reward of each decision over the episode so far, and where `step` is.

    Args:
      episode: the episode, which may grow meanwhile.
      step: the env step that is shown, counted from 0.
    """
    frames = episode.frames[:]
    count = len(frames)
    every = max(1, math.ceil(count / CURVE_POINTS))
    places: List[int] = []
    values: List[float] = []
    for place in range(0, count, every):
        if frames[place].rewards:
            places.append(place)
            values.append(sum(frames[place].rewards.values()))
    low, high = min(values, default=0.0), max(values, default=0.0)
    bottom, top = min(low, 0.0), max(high, 0.0)
    scale = CURVE_HEIGHT / max(top - bottom, 1e-9)
    along = CURVE_WIDTH / max(count - 1, 1)
    points = [f"{place * along:.1f},{(top - value) * scale:.1f}" for place, value in zip(places, values)]
    return _CURVE_TEMPLATE.render(
        width=CURVE_WIDTH,
        height=CURVE_HEIGHT,
        zero=f"{top * scale:.1f}",
        points=" ".join(points),
        now=f"{step * along:.1f}",
        low=f"{low:+.3f}",
        high=f"{high:+.3f}",
        total=f"{_sum_of_decisions(frames):+.2f}",
        seconds=f"{episode.seconds:.1f}",
    )


def _sum_of_decisions(frames: Sequence[Frame]) -> float:
    """Return the sum of the rewards; the frames of a decision hold the same terms, which count once."""
    total = 0.0
    last: Dict[str, float] = {}
    for frame in frames:
        if frame.rewards and frame.rewards is not last:
            last = frame.rewards
            total += sum(last.values())
    return total


def _badges(episode: Episode, step: int, transport: Transport) -> List[Badge]:
    texts = ["live"]
    if transport.replay is not None:
        texts = ["replay"]
    if transport.paused:
        texts.append("paused")
    if episode.ending and step == len(episode.frames) - 1:
        texts.append(episode.ending)
    return [(text, STATUS_COLOURS.get(text, FAILURE_COLOUR)) for text in texts]


def _reward_rows(rewards: Dict[str, float]) -> Rows:
    """Return the terms and their sum; nothing if the terms are not known."""
    if not rewards:
        return []
    rows = [(name, f"{value:+.4f}") for name, value in rewards.items()]
    rows.append(("sum", f"{sum(rewards.values()):+.4f}"))
    return rows


def _total_rows(board: Scoreboard) -> Rows:
    totals = board.totals()
    return [
        ("success rate", _text(totals["success_rate"], ".0%")),
        ("finished time", _text(totals["finished_time"], ".1f", " s")),
        ("collision degree", _text(totals["collision_degree"], ".3f")),
        ("collaboration degree", _text(totals["collaboration_degree"], ".3f")),
    ]


def _text(value: float, form: str, unit: str = "") -> str:
    if math.isnan(value):
        return "–"
    return f"{value:{form}}{unit}"


def _legend(num_agents: int) -> List[Tuple[str, str]]:
    legend: List[Tuple[str, str]] = []
    for agent in range(num_agents):
        legend.append((f"robot {agent}", _css(ROBOT_COLOURS[agent % len(ROBOT_COLOURS)])))
    legend.append(("object's path", _css(OBJECT_COLOUR)))
    legend.append(("walk", _css(WALK_COLOUR)))
    legend.append(("turn", _css(TURN_COLOUR)))
    return legend


def _css(colour: Colour) -> str:
    red, green, blue, _ = colour
    return f"rgb({round(255 * red)},{round(255 * green)},{round(255 * blue)})"
