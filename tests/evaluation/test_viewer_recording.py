"""Recordings of the episodes that are played."""

from __future__ import annotations

import pytest
from watching import EPISODE, Film, Show, Team, short_episodes, until

from mapush.sim.physics import STEP_DT
from mapush.viewer.films.recording import Recording

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


@pytest.fixture
def short(monkeypatch):
    short_episodes(monkeypatch)


def _play_recorded(tmp_path, at_once, only_failures=False, user=None, episodes=2):
    film = Film()
    recording = Recording(film, tmp_path / "film.mp4", only_failures, at_once)
    show = Show(user, recording=recording, episodes=episodes)
    show.play()
    return film, recording, show


@pytest.mark.parametrize("at_once, written", [(True, 2), (False, 0)])
def test_a_recording_has_the_episodes_that_ended_with_the_measures_before_them(short, tmp_path, at_once, written):
    """With a viewer, it is written at the end; episodes that were cut short are left out."""

    def user(transport):
        yield from until((2, 4))
        transport.next()

    film, recording, show = _play_recorded(tmp_path, at_once, user=user)
    assert len(film.added) == written
    recording.close()
    assert film.closed
    assert [episode.number for episode in film.added] == [1, 3]
    end = f"time {EPISODE * STEP_DT:.1f} s: timeout"
    assert [text[:2] for text in film.texts] == [("cuboid, episode 1", end), ("cuboid, episode 3", end)]
    assert ["success 0 of 1, finished time" in "\n".join(text) for text in film.texts] == [False, True]


def test_a_recording_of_failures_leaves_successes_out(short, tmp_path):
    """Successful episodes are never written."""

    class Lucky(Team):
        """Succeeds in the second episode."""

        def act_deterministic(self, obs):
            if len(show.board.outcomes) == 1:
                show.env.goal_pos_w[0] = show.env.simulator.state().object_pos_w[0]
            return super().act_deterministic(obs)

    film = Film()
    recording = Recording(film, tmp_path / "film.mp4", only_failures=True, at_once=True)
    show = Show(recording=recording, episodes=3, team=Lucky())
    show.play()
    assert [outcome["success"] for outcome in show.board.outcomes] == [0.0, 1.0, 0.0]
    assert [episode.number for episode in film.added] == [1, 3]


def test_a_recording_that_is_interrupted_while_it_is_written_is_finished(short, tmp_path, capsys):
    """Ctrl-C skips the episodes that are not written yet, and closes the film."""
    film, recording, _ = _play_recorded(tmp_path, at_once=False)

    def interrupt(episode, lines_of):
        raise KeyboardInterrupt

    film.add = interrupt
    with pytest.raises(KeyboardInterrupt):
        recording.close()
    assert film.closed
    assert "film.mp4: 0" in capsys.readouterr().out
