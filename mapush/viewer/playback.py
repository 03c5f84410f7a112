"""Play episodes, live or kept, env step by env step: on screens in real time, without one as fast as possible."""

from __future__ import annotations

import collections
import dataclasses
import time
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, Optional, Sequence

import torch

from mapush.env.push import COMMAND_SCALE
from mapush.evaluation.episode import Episode, Frame
from mapush.run.shown_progress import SilentProgress
from mapush.sim.physics import STEP_DT, State
from mapush.sim.qpos_layout import rows_of
from mapush.sim.simulator import Simulator
from mapush.viewer.films.recording import Recording
from mapush.viewer.playback_controls import Transport, Wish
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.screen import Screen

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.env.vec_env import Team, Transition

KEPT_EPISODES = 50
LINGER_S = 1.0  # how long the end of an episode stays on the screen
POLL_S = 0.05  # between two looks at what the user does, at most
MAX_LAG_S = 0.1  # a longer delay is not made up for


class WatchedSimulator(Simulator):
    """A simulator whose watcher may change every command, and sees the resulting state.

    Args:
      simulator: the simulator that it replaces; nothing has been simulated yet.
      steer: takes the commands of an env step, shape (num_envs, num_agents, 3), and returns the commands to follow.
      on_step: called with the followed commands and the resulting state.
    """

    def __init__(
        self,
        simulator: Simulator,
        steer: Callable[[torch.Tensor], torch.Tensor],
        on_step: Callable[[torch.Tensor, State], None],
    ) -> None:
        super().__init__(simulator.physics, simulator.walking)
        self._steer = steer
        self._on_step = on_step

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
    """Play the episodes of one env, and replay those that it kept.

    All envs advance together. Only the episodes of the env that the user follows are shown, counted, kept and recorded.
    A new episode that the user asks for starts in all envs.

    Args:
      env: the task, not yet reset; closed at the end.
      make_env: makes the task from a different seed.
      agent: the team; it acts without exploration.
      transport: the controls.
      board: counts the episodes, and says when there were enough.
      screens: where to show the episodes, in real time; the caller closes them.
      recording: what records the episodes; the caller closes it.
      progress: gets every env step that is played.

    Attributes:
      kept: the most recent episodes of the followed env, oldest first; those that were cut short have no ending.
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
        progress: Optional[SilentProgress] = None,
    ) -> None:
        self._progress = progress or SilentProgress()
        self.kept: Deque[Episode] = collections.deque(maxlen=KEPT_EPISODES)
        self._env = env
        self._make_env = make_env
        self._agent = agent
        self._transport = transport
        self._board = board
        self._screens = screens
        self._recording = recording
        self._live: List[Episode] = []  # of each env
        self._rewards: List[Dict[str, float]] = []  # of each env: the terms of the last decision of its episode
        self._number = 1  # of the next episode that is kept
        self._shown = 0  # the env step on the screen
        self._due = 0.0  # when the frame on the screen has been shown long enough

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
                wish = self._play_live(self._env)
        finally:
            self._env.close()

    def _watch(self, env: PushEnv) -> None:
        env.simulator = WatchedSimulator(env.simulator, self._steer, self._after_step)

    def _play_live(self, env: PushEnv) -> Wish:
        """Play new episodes until the user interrupts or there were enough, and return how to go on."""
        observation = env.reset()
        self._announce()
        self._live = [self._new_episode(env_id) for env_id in range(env.num_envs)]
        self._rewards = [{} for _ in range(env.num_envs)]
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

    def _new_episode(self, env_id: int) -> Episode:
        return Episode(0, env_id, goal_radius=self._env.item.goal_radius)

    def _steer(self, commands: torch.Tensor) -> torch.Tensor:
        """Replace the commands of the robot that the user drives, if any."""
        robot = self._transport.teleop
        if robot is None:
            return commands
        by_hand = torch.tensor(self._transport.command).clamp(-COMMAND_SCALE, COMMAND_SCALE)
        commands = commands.clone()
        commands[self._transport.follow, robot] = by_hand.to(commands.device)
        return commands

    def _after_step(self, commands: torch.Tensor, state: State) -> None:
        """Add a frame to the live episode of each env, and show one of them."""
        qpos = rows_of(state)[0].cpu().numpy()
        goals = self._env.goal_pos_w[:, :2].cpu().numpy()
        commanded = commands.cpu().numpy()
        for episode, rewards in zip(self._live, self._rewards):
            row = episode.env_id
            episode.frames.append(Frame(qpos[row].copy(), goals[row].copy(), commanded[row].copy(), rewards))
        length = len(self._live[self._transport.follow].frames)
        self._progress.update(length, f"{length * STEP_DT:.1f} s")
        if self._screens:
            self._show_live()

    def _announce(self) -> None:
        """Report that an episode begins."""
        self._progress.stage(f"playing {self._board.title}, episode {self._number}", self._env.max_episode_length)

    def _show_live(self) -> None:
        """Show the last env step until it is time for the next one.

        Raises:
          _Interrupted: the user does not want the next one.
        """
        wish: Optional[Wish] = Wish.FOLLOW
        while wish is Wish.FOLLOW:
            episode = self._live[self._transport.follow]
            episode.number = self._number
            wish = self._show(episode, len(episode.frames) - 1, STEP_DT)
            if wish is Wish.PREVIOUS:
                wish = self._replay(len(self.kept) - 1)
        if wish is not None:
            raise _Interrupted(wish)

    def _after_decision(self, transition: Transition) -> None:
        """Store the terms of the reward, and start new episodes where an episode has ended.

        Raises:
          _Interrupted: the user does not want the next episode.
        """
        rewards = _rewards_of(transition)
        played = list(self._live)
        for env_id in transition.done.nonzero().flatten().tolist():
            played[env_id] = _ended(self._live[env_id], _outcome_of(transition, env_id))
            self._live[env_id] = self._new_episode(env_id)
        for env_id, episode in enumerate(played):
            episode.frames[-1] = dataclasses.replace(episode.frames[-1], rewards=rewards[env_id])
        self._rewards = rewards
        for env_id in transition.done.nonzero().flatten().tolist():
            self._rewards[env_id] = {}  # the new episode has no decision yet
        followed = self._transport.follow
        if transition.done[followed]:
            self._end(played[followed])

    def _end(self, episode: Episode) -> None:
        """Count an episode that has ended, and show its end.

        Raises:
          _Interrupted: the user does not want the next episode.
        """
        self._keep(episode)
        if self._recording is not None:
            self._recording.add(episode, self._board)
        self._board.add(episode)
        print(f"episode {episode.number}: {self._board.last}", flush=True)
        self._announce()
        if not self._screens:
            return
        wish = self._show(episode, len(episode.frames) - 1, LINGER_S)
        if wish is Wish.PREVIOUS:
            wish = self._replay(len(self.kept) - 2)
        if wish in (Wish.RESEED, Wish.QUIT):
            raise _Interrupted(wish)

    def _keep(self, episode: Episode) -> None:
        """Keep an episode that has ended or was cut short, and give it its number."""
        if episode.frames:
            episode.number = self._number
            self._number += 1
            self.kept.append(episode)

    # -- kept --------------------------------------------------------------------------------------------------------

    def _replay(self, place: int) -> Wish:
        """Play the kept episodes from the one at `place` on, and return how to go on with the live episode."""
        place = max(place, 0)
        while place < len(self.kept):
            self._transport.replay = self.kept[place].number
            wish = self._play_kept(self.kept[place])
            self._transport.replay = None
            if wish is Wish.PREVIOUS:
                place = max(place - 1, 0)
            elif wish is None or wish is Wish.NEXT:
                place += 1
            else:
                return wish
        return Wish.FOLLOW

    def _play_kept(self, episode: Episode) -> Optional[Wish]:
        """Show a kept episode, and return the wish that interrupted it; None if it was shown to its end.

        After the user went to a different env step, it continues from there.
        """
        last = len(episode.frames) - 1
        step = 0
        while step <= last:
            seconds = LINGER_S if step == last else STEP_DT
            wish = self._show(episode, step, seconds)
            if wish is not None:
                return wish
            step = self._shown + 1
        return None

    # -- time --------------------------------------------------------------------------------------------------------

    def _show(self, episode: Episode, step: int, seconds: float) -> Optional[Wish]:
        """Show a frame for `seconds` of simulated time, or as long as the user pauses and looks at earlier ones.

        Returns:
          What the user asks for; None when it is time for the next frame.
        """
        transport = self._transport
        self._due = max(self._due + seconds / transport.speed, time.monotonic() - MAX_LAG_S)
        while True:
            self._shown = self._place(episode, step)
            for screen in self._screens:
                screen.show(episode, self._shown, self._board)
            wait = POLL_S
            if not transport.paused:
                wait = min(POLL_S, self._due - time.monotonic())
            wish = transport.take(wait)
            if any(screen.closed for screen in self._screens):
                return Wish.QUIT
            if self._moves_back(wish, episode):
                continue
            resumed = not transport.paused and transport.scrubbed is not None
            is_over = not transport.paused and time.monotonic() >= self._due
            if wish is not None or resumed or is_over:
                transport.scrubbed = None
                return None if wish is Wish.STEP else wish

    def _place(self, episode: Episode, step: int) -> int:
        """Return the env step that is shown while `step` is played; a different one if the user went there."""
        scrubbed = self._transport.scrubbed
        if scrubbed is None:
            return step
        return max(0, min(scrubbed, len(episode.frames) - 1))

    def _moves_back(self, wish: Optional[Wish], episode: Episode) -> bool:
        """Go to the env step before the one that is shown, or after it if the user went back; return whether it did."""
        if wish is Wish.BACK:
            self._transport.scrubbed = max(self._shown - 1, 0)
            return True
        went_back = self._transport.scrubbed is not None and self._shown < len(episode.frames) - 1
        if wish is Wish.STEP and went_back:
            self._transport.scrubbed = self._shown + 1
            return True
        return False


def _rewards_of(transition: Transition) -> List[Dict[str, float]]:
    """Return the terms of the reward of each env, mean over the team."""
    means = torch.stack([term.mean(dim=1) for term in transition.terms.values()], dim=1)
    return [dict(zip(transition.terms, values)) for values in means.tolist()]


def _outcome_of(transition: Transition, env_id: int) -> Dict[str, float]:
    return {name: float(values[env_id]) for name, values in transition.outcome.items()}


def _ended(episode: Episode, outcome: Dict[str, float]) -> Episode:
    """Return `episode` with its outcome, without the frames that its last decision added after its end.

    An episode that loses frames is copied, because a screen may still draw its last frame.
    """
    episode.outcome = outcome
    length = int(outcome["length"])
    if length == len(episode.frames):
        return episode
    return dataclasses.replace(episode, frames=episode.frames[:length])
