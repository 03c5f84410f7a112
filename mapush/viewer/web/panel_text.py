"""What the panel of the page says, as HTML."""

from __future__ import annotations

import html
import math
from typing import Dict, Iterable, Tuple

from mapush.evaluation.episode import Episode
from mapush.sim.physics import STEP_DT
from mapush.viewer.overlay import OBJECT_COLOUR, ROBOT_COLOURS, TURN_COLOUR, WALK_COLOUR, Colour
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard

_STATUS_COLOURS = {"live": "#2b8a3e", "paused": "#e67700", "replay": "#1971c2", "success": "#2b8a3e"}
_OTHER_COLOUR = "#c92a2a"  # of endings that are no success
_BADGE = (
    '<span data-name="status" style="background:{};color:white;border-radius:4px;padding:1px 7px;'
    'font-weight:600;font-size:0.85em">{}</span>'
)
_BLOCK = '<div style="padding:0.35em 0.9em 0;font-size:0.9em;line-height:1.45">{}</div>'
_TABLE = '<div style="columns:{};column-gap:1em;font-variant-numeric:tabular-nums;font-size:{}em">{}</div>'
_ROW = (
    '<div style="display:flex;justify-content:space-between">'
    '<span style="opacity:0.7">{0}</span><span data-name="{0}">{1}</span></div>'
)
_TITLE = '<div style="font-weight:600;margin-top:0.5em;border-bottom:1px solid rgba(128,128,128,0.3)">{}</div>'
_DOT = '<span style="white-space:nowrap;margin-right:0.8em"><span style="color:{}">&#9679;</span> {}</span>'

_TOTALS = {
    "success_rate": "success rate",
    "finished_time": "finished time",
    "collision_degree": "collision degree",
    "collaboration_degree": "collaboration degree",
}


def frame_text(episode: Episode, step: int, transport: Transport, board: Scoreboard) -> str:
    """Return where `episode.frames[step]` stands.

    Args:
      episode: it may go on meanwhile.
      step: of the frame, counted from 0.
      transport: tells whether time stands still, and whether this is a replay.
      board: what came before.
    """
    badges = ["live" if transport.replay is None else "replay"] + (["paused"] if transport.paused else [])
    if episode.ending and step == len(episode.frames) - 1:
        badges.append(episode.ending)
    heading = f'<b data-name="episode" style="font-size:1.1em">Episode {episode.number}</b> '
    rows = {
        "time": f"{(step + 1) * STEP_DT:.2f} s",
        "object to goal": f"{episode.frames[step].distance:.2f} m",
        "last episode": board.last or "none yet",
    }
    return _BLOCK.format(heading + " ".join(map(_badge, badges)) + _table(rows.items()))


def rest_text(episode: Episode, step: int, board: Scoreboard) -> str:
    """Return the reward at `episode.frames[step]`, the totals so far, and what the colours mean."""
    frame = episode.frames[step]
    return _BLOCK.format(_rewards(frame.rewards) + _totals(board) + _legend(len(frame.robots)))


def _rewards(rewards: Dict[str, float]) -> str:
    if not rewards:
        return ""
    rows = dict(rewards, sum=sum(rewards.values())).items()
    table = _table([(name, f"{value:+.4f}") for name, value in rows], columns=2)
    return _TITLE.format("Reward of the last decision") + table


def _totals(board: Scoreboard) -> str:
    totals = board.totals()
    wanted = "" if board.episodes is None else f" of {board.episodes}"
    title = f"Over {board.tally.played}{wanted} episodes"
    formats = {"success_rate": "{:.0%}", "finished_time": "{:.1f} s"}
    rows = [
        (label, "–" if math.isnan(totals[name]) else formats.get(name, "{:.3f}").format(totals[name]))
        for name, label in _TOTALS.items()
    ]
    return _TITLE.format(title) + _table(rows)


def _legend(num_agents: int) -> str:
    colours = [(f"robot {agent}", ROBOT_COLOURS[agent % len(ROBOT_COLOURS)]) for agent in range(num_agents)]
    colours += [("object's path", OBJECT_COLOUR), ("walk", WALK_COLOUR), ("turn", TURN_COLOUR)]
    return _TITLE.format("Colours") + " ".join(_DOT.format(_css(colour), name) for name, colour in colours)


def _table(rows: Iterable[Tuple[str, str]], columns: int = 1) -> str:
    lines = [_ROW.format(html.escape(name), html.escape(text)) for name, text in rows]
    return _TABLE.format(columns, 1.0 if columns == 1 else 0.88, "".join(lines))


def _badge(status: str) -> str:
    return _BADGE.format(_STATUS_COLOURS.get(status, _OTHER_COLOUR), status)


def _css(colour: Colour) -> str:
    return "rgb({})".format(",".join(str(round(255 * part)) for part in colour[:3]))
