"""The player: what is shown, counted and kept, and how it follows the user."""

from __future__ import annotations

import numpy as np
import pytest
from watching import COMMAND, EPISODE, SEED, Clock, Screen, Show, Team, make_env, short_episodes, until

from mapush.sim.physics import STEP_DT
from mapush.viewer import playback as player_module
from mapush.viewer.playback import LINGER_S, MAX_LAG_S

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

LAST = EPISODE - 1


@pytest.fixture(autouse=True)
def short(monkeypatch):
    short_episodes(monkeypatch)


def frames_of(number, start=0, end=LAST):
    """Return the frames that a screen shows of an episode, from step `start` to step `end`."""
    return [(number, step) for step in range(start, end + 1)]


# -- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [1, 10])
def test_play_shows_every_env_step_of_every_episode(hold):
    """For any decision length, each env step is a frame with the positions of the simulator."""
    seen = []

    def user(transport):
        while True:
            episode, step = yield
            qpos = show.env.simulator.physics.batch.bind("qpos")[0]
            now = np.array_equal(episode.frames[step].qpos, qpos.astype(np.float32))
            same_goal = np.array_equal(episode.frames[step].goal, show.env.goal_pos_w[0, :2].numpy())
            seen.append((step == LAST or now) and (step == LAST or same_goal))

    show = Show(user, hold=hold)
    assert show.play() == frames_of(1) + frames_of(2)
    assert all(seen)
    assert len(seen) >= 2 * EPISODE
    assert [outcome["length"] for outcome in show.board.outcomes] == [EPISODE, EPISODE]
    kept = list(show.player.kept)
    assert [(episode.number, episode.ending, len(episode.frames)) for episode in kept] == [
        (1, "timeout", EPISODE),
        (2, "timeout", EPISODE),
    ]
    assert kept[0].frames[7].commands == pytest.approx(np.array([COMMAND, COMMAND]))
    assert kept[0].frames[0].qpos.dtype == np.float32


@pytest.mark.parametrize("hold", [1, 10])
def test_rewards_of_the_decisions_add_up_to_the_return(hold):
    """The last frame of a decision has its reward terms, as have the frames until the next decision ends."""
    show = Show(hold=hold, episodes=2)
    show.play()
    for episode in show.player.kept:
        assert _sum_of_rewards(episode, hold) == pytest.approx(episode.outcome["return"], rel=1e-4)
        assert episode.frames[0].rewards == {} or hold == 1
    if hold == 10:
        assert episode.frames[12].rewards == episode.frames[9].rewards != episode.frames[19].rewards


def test_a_decision_that_outlives_an_episode_adds_no_frames():
    """If other envs continue the decision, an env that has ended keeps no frame after its end."""

    class AtGoal(Team):
        """Moves the goal of env 1 to the object at the second decision."""

        decisions = 0

        def act_deterministic(self, obs):
            self.decisions += 1
            if self.decisions == 2:
                show.env.goal_pos_w[1] = show.env.simulator.state().object_pos_w[1]
            return super().act_deterministic(obs)

    def user(transport):
        transport.follow = 1
        yield

    show = Show(user, episodes=1, num_envs=3, hold=10, team=AtGoal())
    show.play()
    (episode,) = show.player.kept
    assert (episode.env_id, episode.ending, len(episode.frames)) == (1, "success", 11)
    assert show.screen.shown[-1] == (1, 10)


def test_time_passes_as_fast_as_it_should(monkeypatch):
    """A frame stays for one env step and the end of an episode for one second, both divided by the speed."""
    for speed in (1.0, 0.5, 4.0):
        show = Show(episodes=2)
        clock = Clock(monkeypatch, show.transport)
        show.transport.speed, start = speed, clock.now
        show.play()
        expected = 2 * (EPISODE * STEP_DT + LINGER_S) / speed
        assert clock.now - start == pytest.approx(expected, abs=2 * STEP_DT / speed)


@pytest.mark.parametrize("stall, lost, tolerance", [(0.09, 0.0, 0.03), (5.0, 5.0, MAX_LAG_S + 3 * STEP_DT)])
def test_a_short_stall_is_made_up_for_and_a_long_one_is_not(monkeypatch, stall, lost, tolerance):
    """Playback keeps its pace on a busy machine, but does not rush after a long wait."""

    def user(transport):
        yield from until((1, 4))
        clock.now += stall

    show = Show(user, episodes=1)
    clock = Clock(monkeypatch, show.transport)
    show.transport.speed, start = 1.0, clock.now
    show.play()
    expected = EPISODE * STEP_DT + LINGER_S + lost
    assert clock.now - start == pytest.approx(expected, abs=tolerance)


def test_without_a_screen_nothing_waits(monkeypatch):
    """Without a screen, playback is as fast as the computation."""
    show = Show()
    show.player._screens = []
    monkeypatch.setattr(show.transport, "take", lambda seconds: pytest.fail("waits"))
    show.play()
    assert len(show.board.outcomes) == 2


# -- what the user does ----------------------------------------------------------------------------------------------


def test_pause_stops_the_time_and_step_goes_on_by_one(monkeypatch):
    """While paused, the frame stays; a step shows the next frame, which then stays."""

    def user(transport):
        yield from until((1, 4))
        transport.paused = True
        for wanted in (4, 4, 4):
            assert (yield)[1] == wanted
        transport.step()
        assert (yield)[1] == 5
        for wanted in (5, 5):
            assert (yield)[1] == wanted
        assert len(show.player._live[0].frames) == 6
        transport.paused = False

    show = Show(user, episodes=1)
    Clock(monkeypatch, show.transport)
    assert show.play() == frames_of(1)
    assert show.screen.user is None


@pytest.mark.parametrize("hold", [1, 10])
def test_next_leaves_an_episode_in_the_middle_of_a_decision(hold):
    """The rest of the episode is not played, the episode is not counted, and the new one is complete."""

    def user(transport):
        yield from until((1, 4))
        transport.next()

    show = Show(user, episodes=1, hold=hold)
    assert show.play() == frames_of(1, 0, 4) + frames_of(2)
    cut, whole = show.player.kept
    assert (cut.ending, len(cut.frames), whole.ending) == ("", 5, "timeout")
    assert [outcome["length"] for outcome in show.board.outcomes] == [EPISODE]
    assert not np.array_equal(cut.frames[0].goal, whole.frames[0].goal)
    assert whole.outcome["return"] == pytest.approx(_sum_of_rewards(whole, hold), rel=1e-4)


def _sum_of_rewards(episode, hold):
    """Return the sum of the rewards of all decisions, each of which lasts `hold` env steps."""
    total = 0.0
    for step in sorted({*range(hold - 1, EPISODE, hold), LAST}):
        total += sum(episode.frames[step].rewards.values())
    return total


def test_previous_replays_kept_episodes_while_the_live_one_waits():
    """Each `previous` goes one episode back; the replay ends at the live episode, which then continues."""
    live = []

    def user(transport):
        episode = yield from until((3, 6))
        live.append(len(episode.frames))
        transport.previous()
        yield from until((2, 3))
        assert transport.replay == 2
        transport.previous()
        yield from until((1, 8))
        assert transport.replay == 1
        live.append(len(episode.frames))
        transport.next()
        yield from until((3, 6))
        assert transport.replay is None

    show = Show(user, episodes=3)
    shown = show.play()
    assert live == [7, 7]
    again = frames_of(3, 0, 6) + frames_of(2, 0, 3) + frames_of(1, 0, 8) + frames_of(2) + frames_of(3, 6)
    assert shown == frames_of(1) + frames_of(2) + again
    assert len(show.board.outcomes) == 3


def test_previous_without_a_kept_episode_or_at_an_end_is_the_one_before():
    """Without kept episodes nothing is replayed; at the end of an episode, the one before it is."""

    def user(transport):
        yield from until((1, 2))
        transport.previous()
        episode = yield from until((2, LAST))
        while not episode.ending:
            yield
        transport.previous()
        yield from until((1, 3))
        transport.previous()
        yield from until((1, 0))
        yield from until((1, 5))
        transport.next()

    show = Show(user, episodes=2)
    first = frames_of(1, 0, 3) + frames_of(1, 0, 5)
    assert show.play() == frames_of(1) + frames_of(2) + first + frames_of(2)


@pytest.mark.parametrize("seed", [SEED, 8])
def test_reseed_starts_again_as_if_with_this_seed(seed):
    """The episodes after it equal, bit for bit, those of a program that starts with this seed."""

    def user(transport):
        yield from until((1, 4))
        transport.reseed(seed)

    show = Show(user, episodes=1)
    show.play()
    fresh = Show(episodes=1)
    fresh.player._env = make_env(seed)
    fresh.play()
    assert show.seeds == [seed]
    mine, theirs = show.player.kept[-1], fresh.player.kept[-1]
    assert len(mine.frames) == len(theirs.frames) == EPISODE
    for left, right in zip(mine.frames, theirs.frames):
        assert np.array_equal(left.qpos, right.qpos)
        assert np.array_equal(left.goal, right.goal)


@pytest.mark.parametrize("quirks", [False, True])
def test_a_robot_that_is_driven_by_hand_follows_its_commands_at_once(quirks):
    """Its commands are the user's at once, even if actions are scaled; the other robot keeps its own."""

    def user(transport):
        yield from until((1, 3))
        transport.teleop, transport.command = 1, (-0.2, 0.1, 9.0)
        yield from until((1, 12))
        transport.teleop = None

    show = Show(user, episodes=1, hold=10, upstream_quirks=quirks)
    show.play()
    commands = np.stack([frame.commands for frame in show.player.kept[0].frames])
    policy = np.array(COMMAND)
    if quirks:
        policy = 0.5 * policy
    assert commands[:, 0] == pytest.approx(np.tile(policy, (EPISODE, 1)))
    by_hand = slice(4, 13)
    assert commands[by_hand, 1] == pytest.approx(np.tile((-0.2, 0.1, 0.5), (9, 1)))
    assert np.delete(commands[:, 1], by_hand, axis=0) == pytest.approx(np.tile(policy, (EPISODE - 9, 1)))


def test_follow_shows_a_different_env_even_while_paused(monkeypatch):
    """All envs are at the same step of their own episodes; only those of the followed env are kept."""

    def user(transport):
        episode = yield from until((1, 4))
        assert episode.env_id == 0
        transport.paused = True
        transport.follow = 2
        other, step = yield
        assert (other.env_id, step, len(other.frames)) == (2, 4, 5)
        assert not np.array_equal(other.frames[0].goal, episode.frames[0].goal)
        qpos = show.env.simulator.physics.batch.bind("qpos")[2]
        assert np.array_equal(other.frames[4].qpos, qpos.astype(np.float32))
        transport.paused = False

    show = Show(user, episodes=1, num_envs=3)
    Clock(monkeypatch, show.transport)
    assert show.play() == frames_of(1)
    assert [episode.env_id for episode in show.player.kept] == [2]


def test_play_ends_when_the_user_quits_at_the_end_of_an_episode():
    """The episode is counted, and no new one starts."""

    def user(transport):
        episode = yield from until((1, LAST))
        while not episode.ending:
            yield
        transport.quit()

    show = Show(user, episodes=3)
    assert show.play() == frames_of(1)
    assert len(show.board.outcomes) == 1


@pytest.mark.parametrize("way", ["quit", "close"])
def test_play_ends_when_the_user_quits_or_closes_the_screen(way):
    """Playback ends at once, counts nothing, and releases the simulator."""

    def user(transport):
        yield from until((1, 4))
        if way == "quit":
            transport.quit()
        else:
            show.screen.closed = True

    show = Show(user)
    assert show.play() == frames_of(1, 0, 4)
    assert show.board.outcomes == []
    assert show.env.simulator.physics.batch is None


def test_play_when_interrupted_releases_the_simulator():
    """Ctrl-C reaches the caller."""

    class Impatient(Screen):
        def show(self, episode, step, board):
            raise KeyboardInterrupt

    show = Show()
    show.player._screens = [Impatient()]
    with pytest.raises(KeyboardInterrupt):
        show.play()
    assert show.env.simulator.physics.batch is None


def test_only_the_latest_episodes_are_kept(monkeypatch):
    """Memory does not grow with the time that the user watches."""
    monkeypatch.setattr(player_module, "KEPT_EPISODES", 2)
    show = Show(episodes=3)
    show.play()
    assert [episode.number for episode in show.player.kept] == [2, 3]


def test_player_on_no_screen_plays_the_same_episodes_as_on_one():
    """Watching changes nothing."""
    shown, hidden = Show(episodes=1, hold=10), Show(episodes=1, hold=10)
    hidden.player._screens = []
    for show in (shown, hidden):
        show.play()
    mine, theirs = (show.player.kept[0].frames for show in (shown, hidden))
    assert len(mine) == len(theirs) == EPISODE
    for left, right in zip(mine, theirs):
        assert np.array_equal(left.qpos, right.qpos)
        assert left.rewards == right.rewards


def test_user_goes_back_in_the_live_episode_and_time_continues_at_its_newest_step():
    """Back, forwards, or to any step: time stands still meanwhile, and nothing is simulated."""
    places = []

    def user(transport):
        yield from until((1, 6))
        transport.back()
        yield from until((1, 5))
        transport.back()
        yield from until((1, 4))
        transport.step()
        yield from until((1, 5))
        transport.scrub(2)
        episode = yield from until((1, 2))
        places.append(len(episode.frames))
        transport.scrub(100)
        episode = yield from until((1, 6))
        places.append(len(episode.frames))
        transport.step()
        yield from until((1, 7))
        transport.paused = False

    show = Show(user, episodes=1)
    assert show.play() == [*frames_of(1, 0, 6), (1, 5), (1, 4), (1, 5), (1, 2), *frames_of(1, 6)]
    assert places == [7, 7]
    assert [outcome["length"] for outcome in show.board.outcomes] == [EPISODE]


def test_replay_continues_where_the_user_went():
    """A kept episode is complete: it is shown from any step on, backwards and forwards."""

    def user(transport):
        yield from until((2, 3))
        transport.previous()
        yield from until((1, 5))
        transport.scrub(15)
        yield from until((1, 15))
        transport.paused = False
        yield from until((1, 18))
        transport.scrub(9)
        yield from until((1, 9))
        transport.paused = False

    shown = Show(user).play()
    replay = [*frames_of(1, 0, 5), *frames_of(1, 15, 18), *frames_of(1, 9)]
    assert shown == [*frames_of(1), *frames_of(2, 0, 3), *replay, *frames_of(2, 3)]


def test_keys_that_drive_change_the_command_of_the_driven_robot_within_its_limits():
    """Nobody is driven by accident: without a robot that is by hand, nothing changes."""
    transport = Show().transport
    transport.drive(0, 0.25)
    assert transport.command == (0.0, 0.0, 0.0)
    transport.teleop = 1
    for _ in range(3):
        transport.drive(0, 0.25)
    transport.drive(2, -0.25)
    assert transport.command == (0.5, 0.0, -0.25)
