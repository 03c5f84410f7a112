"""The text of the panel, as HTML."""

from __future__ import annotations

import math
from typing import Dict, List, Tuple

import jinja2

from mapush.evaluation.episode import Episode
from mapush.sim.physics import STEP_DT
from mapush.viewer.overlay import OBJECT_COLOUR, ROBOT_COLOURS, TURN_COLOUR, WALK_COLOUR, Colour
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard

Rows = List[Tuple[str, str]]  # names and values of a table
Badge = Tuple[str, str]  # text and colour

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
{{ title(heading) }}{{ table(totals) }}{{ title("Colours") }}
{%- for name, colour in legend -%}
<span style="white-space:nowrap;margin-right:0.8em"><span style="color:{{ colour }}">&#9679;</span> {{ name }}</span>
{% endfor -%}
</div>
"""
_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
_FRAME_TEMPLATE = _ENVIRONMENT.from_string(_MACROS + _FRAME)
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
        legend=_legend(len(frame.robots)),
    )


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
