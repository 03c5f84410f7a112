"""Plays episodes, live or kept, env step by env step: on screens in real time, without one as fast as it can."""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
import time
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, Optional, Protocol, Sequence, Tuple

import torch

from mapush.env.push import COMMAND_SCALE
from mapush.evaluation.episode import Episode, Frame
from mapush.sim.physics import STEP_DT, State
from mapush.sim.qpos_layout import rows_of
from mapush.sim.simulator import Simulator
from mapush.viewer.playback_controls import Transport, Wish
from mapush.viewer.scoreboard import Scoreboard

if TYPE_CHECKING:
    from pathlib import Path

    from mapush.env.push import PushEnv
    from mapush.env.vec_env import Team, Transition
    from mapush.viewer.films.film import Film

KEPT_EPISODES = 50
LINGER_S = 1.0  # for which the end of an episode stays on the screen
POLL_S = 0.05  # between two looks at what the user does
MAX_LAG_S = 0.1  # that is made up for


class Screen(Protocol):
    """Where someone watches."""

    @property
    def closed(self) -> bool:
        """Whether the user has closed it, which ends the program."""

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Show the frame number `step` of `episode`, and return quickly; the same frame may come again."""

    def close(self) -> None:
        """Release everything."""


class Recording:
    """What goes to a film, and when: episodes that have ended, not those that were cut short.

    Args:
      film: where to.
      path: its file.
      only_failures: leave out what succeeded.
      at_once: write each episode when it ends; else all of them at the end, which holds up nobody who watches.
    """

    def __init__(self, film: Film, path: Path, only_failures: bool, at_once: bool) -> None:
        self._film, self._path, self._only_failures, self._at_once = film, path, only_failures, at_once
        self._waiting: List[Tuple[Episode, Scoreboard]] = []
        self._written = 0

    def add(self, episode: Episode, board: Scoreboard) -> None:
        """Take an episode, with the measures of those before it."""
        if self._only_failures and episode.ending == "success":
            return
        self._waiting.append((episode, copy.deepcopy(board)))
        if self._at_once:
            self._write()

    def close(self) -> None:
        """Write what waits, and finish the film, also if that is interrupted."""
        try:
            if self._waiting:
                print(f"writing {self._path} (Ctrl-C leaves the rest out)", flush=True)
            self._write()
        finally:
            self._film.close()
            kind = "failures" if self._only_failures else "episodes"
            print(f"{kind} recorded to {self._path}: {self._written}", flush=True)

    def _write(self) -> None:
        while self._waiting:
            episode, board = self._waiting.pop(0)
            self._film.add(episode, functools.partial(_lines, board, episode))
            self._written += 1


def _lines(board: Scoreboard, episode: Episode, step: int) -> Tuple[str, ...]:
    return board.lines(episode, episode.frames[step], step)


class WatchedSimulator(Simulator):
    """A simulator whose watcher may change every command, and sees what it led to.

    Args:
      simulator: what it replaces; nothing has been simulated yet.
      steer: takes the commands of an env step (E, A, 3) and returns those to walk by.
      on_step: called with these and the state that they led to.
    """

    def __init__(
        self,
        simulator: Simulator,
        steer: Callable[[torch.Tensor], torch.Tensor],
        on_step: Callable[[torch.Tensor, State], None],
    ) -> None:
        super().__init__(simulator.physics, simulator.walking)
        self._steer, self._on_step = steer, on_step

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """See `Simulator.step`."""
        commands = self._steer(commands)
        state = super().step(commands, state)
        self._on_step(commands, state)
        return state


class _Interrupted(Exception):
    """The user leaves the live episode, perhaps in the middle of a decision."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.wish = wish


class Playback:
    """Plays the episodes of one env after another, and replays those that it kept.

    All envs advance together; shown, counted, kept and recorded are the episodes of the one that the user follows. A
    new episode that the user asks for starts in all of them.

    Args:
      env: the task, not yet reset; closed at the end.
      make_env: makes it from another seed.
      agent: the team; it acts without exploring.
      transport: what the user asks for.
      board: counts the episodes, and says when there were enough.
      screens: where to show them, in real time; not closed here.
      recording: takes them as well; not closed here.
    """

    def __init__(
        self,
        env: PushEnv,
        make_env: Callable[[int], PushEnv],
        agent: Team,
        transport: Transport,
        board: Scoreboard,
        screens: Sequence[Screen] = (),
        recording: Optional[Recording] = None,
    ) -> None:
        self._env, self._make_env, self._agent, self._transport = env, make_env, agent, transport
        self._board, self._screens, self._recording = board, screens, recording
        self._kept: Deque[Episode] = collections.deque(maxlen=KEPT_EPISODES)
        self._live: List[Episode] = []
        self._rewards: List[Dict[str, float]] = []
        self._number = 1
        self._due = 0.0

    def play(self) -> None:
        """Play until there were enough episodes, the user quits or a screen is closed."""
        wish = Wish.NEXT
        self._watch(self._env)
        try:
            while wish is not Wish.QUIT:
                if wish is Wish.RESEED:
                    self._env.close()
                    self._env = self._make_env(self._transport.seed)
                    self._watch(self._env)
                wish = self._play_on(self._env)
        finally:
            self._env.close()

    def _watch(self, env: PushEnv) -> None:
        env.simulator = WatchedSimulator(env.simulator, self._steer, self._after_step)

    def _play_on(self, env: PushEnv) -> Wish:
        """Play new episodes until the user interrupts them or there were enough, and return how to go on."""
        observation = env.reset()
        self._live = [Episode(0, env_id) for env_id in range(env.num_envs)]
        self._rewards = [{} for _ in self._live]
        self._due = time.monotonic()
        try:
            while not self._board.over:
                actions = self._agent.act_deterministic(observation.obs.to(self._agent.device))
                transition = env.step(actions.to(env.device))
                env.check()
                self._after_decision(transition)
                observation = transition.observation
        except _Interrupted as interrupted:
            self._keep(self._live[self._transport.follow])
            return interrupted.wish
        return Wish.QUIT

    # -- live --------------------------------------------------------------------------------------------------------

    def _steer(self, commands: torch.Tensor) -> torch.Tensor:
        robot = self._transport.teleop
        if robot is None:
            return commands
        by_hand = torch.tensor(self._transport.command).clamp(-COMMAND_SCALE, COMMAND_SCALE)
        commands = commands.clone()
        commands[self._transport.follow, robot] = by_hand.to(commands.device)
        return commands

    def _after_step(self, commands: torch.Tensor, state: State) -> None:
        values = (rows_of(state)[0], self._env.goal_pos_w[:, :2], commands)
        qpos, goals, commanded = (value.cpu().numpy() for value in values)
        for episode, rewards in zip(self._live, self._rewards):
            one = episode.env_id
            episode.frames.append(Frame(qpos[one].copy(), goals[one].copy(), commanded[one].copy(), rewards))
        if self._screens:
            self._show_live()

    def _show_live(self) -> None:
        """Show the last env step until it is time for the next one.

        Raises:
          _Interrupted: there shall be no next one.
        """
        wish: Optional[Wish] = Wish.FOLLOW
        while wish is Wish.FOLLOW:
            episode = self._live[self._transport.follow]
            episode.number = self._number
            wish = self._show(episode, len(episode.frames) - 1, STEP_DT)
            if wish is Wish.PREVIOUS:
                wish = self._replay(len(self._kept) - 1)
        if wish is not None:
            raise _Interrupted(wish)

    def _after_decision(self, transition: Transition) -> None:
        """Take the reward's terms, and the episodes that have ended."""
        terms = torch.stack([term.mean(dim=1) for term in transition.terms.values()], dim=1).tolist()
        self._rewards = [dict(zip(transition.terms, values)) for values in terms]
        done, played = transition.done.tolist(), list(self._live)
        for env_id in transition.done.nonzero().flatten().tolist():
            outcome = {name: float(value[env_id]) for name, value in transition.outcome.items()}
            played[env_id] = _ended(self._live[env_id], outcome)
            self._live[env_id] = Episode(0, env_id)
        for episode, rewards in zip(played, self._rewards):
            episode.frames[-1] = dataclasses.replace(episode.frames[-1], rewards=rewards)
        self._rewards = [{} if over else rewards for over, rewards in zip(done, self._rewards)]
        if done[self._transport.follow]:
            self._end(played[self._transport.follow])

    def _end(self, episode: Episode) -> None:
        """Count an episode, and let its end be seen.

        Raises:
          _Interrupted: the user does not want the next one.
        """
        self._keep(episode)
        if self._recording is not None:
            self._recording.add(episode, self._board)
        self._board.add(episode)
        print(f"episode {episode.number}: {self._board.last}", flush=True)
        if not self._screens:
            return
        wish = self._show(episode, len(episode.frames) - 1, LINGER_S)
        if wish is Wish.PREVIOUS:
            wish = self._replay(len(self._kept) - 2)
        if wish in (Wish.RESEED, Wish.QUIT):
            raise _Interrupted(wish)

    def _keep(self, episode: Episode) -> None:
        """Keep an episode that has ended or is cut short."""
        if episode.frames:
            episode.number = self._number
            self._number += 1
            self._kept.append(episode)

    # -- kept --------------------------------------------------------------------------------------------------------

    def _replay(self, place: int) -> Wish:
        """Play kept episodes from the one at `place` on, and return how to go on with the live one."""
        place = max(place, 0)
        while place < len(self._kept):
            self._transport.replay = self._kept[place].number
            wish = self._play_kept(self._kept[place])
            self._transport.replay = None
            if wish is Wish.PREVIOUS:
                place = max(place - 1, 0)
            elif wish in (None, Wish.NEXT):
                place += 1
            else:
                return wish
        return Wish.FOLLOW

    def _play_kept(self, episode: Episode) -> Optional[Wish]:
        last = len(episode.frames) - 1
        for step in range(last + 1):
            wish = self._show(episode, step, LINGER_S if step == last else STEP_DT)
            if wish is not None:
                return wish
        return None

    # -- time --------------------------------------------------------------------------------------------------------

    def _show(self, episode: Episode, step: int, seconds: float) -> Optional[Wish]:
        """Show a frame for `seconds`, or for as long as time stands still.

        Returns:
          What the user asks for; None if it is time for the next frame.
        """
        transport = self._transport
        self._due = max(self._due + seconds / transport.speed, time.monotonic() - MAX_LAG_S)
        while True:
            for screen in self._screens:
                screen.show(episode, step, self._board)
            wish = transport.take(POLL_S if transport.paused else min(POLL_S, self._due - time.monotonic()))
            if any(screen.closed for screen in self._screens):
                return Wish.QUIT
            if wish is not None:
                return None if wish is Wish.STEP else wish
            if not transport.paused and time.monotonic() >= self._due:
                return None


def _ended(episode: Episode, outcome: Dict[str, float]) -> Episode:
    """Return `episode` with its outcome; if the decision outlived it, another one, as a screen may still draw this."""
    episode.outcome = outcome
    length = int(outcome["length"])
    if length == len(episode.frames):
        return episode
    return dataclasses.replace(episode, frames=episode.frames[:length])
