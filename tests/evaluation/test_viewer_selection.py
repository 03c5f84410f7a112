"""What the viewer's flags mean: where episodes are shown, which are recorded, and what does not fit together."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from watching import EPISODE, Film, Screen, Show, Team, short_episodes, until

from mapush import evaluate, viewer
from mapush.config import SimConfig
from mapush.errors import ConfigError
from mapush.evaluation.episode import Episode, Frame
from mapush.evaluation.evaluate_config import RECORDING_SUFFIXES, VIEWER_FLAGS, EvaluateConfig
from mapush.sim.physics import STEP_DT
from mapush.viewer import selection as choices
from mapush.viewer.films.recorder import WRITERS
from mapush.viewer.playback import Recording
from mapush.viewer.playback_controls import SPEEDS, Transport, Wish
from mapush.viewer.scoreboard import ATTEMPTS, Scoreboard
from mapush.viewer.selection import choose

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

MP4 = Path("film.mp4")


def config(**changes):
    return EvaluateConfig(mode="viewer", untrained=True, **changes)


# -- flags -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"viewer": "natve"}, "native"),
        ({"viewer": "none"}, "--record"),
        ({"record": Path("film.avi")}, "unknown kind of film '.avi'"),
        ({"record": Path("film")}, "unknown kind of film ''"),
        ({"only": "failures"}, "--record"),
        ({"only": "successes", "record": MP4}, "--only failures"),
        ({"episodes": 0}, "no episodes"),
        ({"num_envs": 0}, "nothing to do"),
        ({"record": MP4, "port": 8080}, "--viewer web"),
        ({"viewer": "native", "host": "0.0.0.0"}, "--viewer web"),
        ({"record": MP4, "num_envs": 5}, "--num-envs"),
        ({"sim": SimConfig("isaacgym"), "viewer": "web"}, "Isaac Gym"),
        ({"sim": SimConfig("isaacgym"), "port": 8080}, "Isaac Gym"),
        ({"sim": SimConfig("isaacgym"), "record": Path("film.html")}, "Isaac Gym"),
        ({"sim": SimConfig("isaacgym"), "record": MP4, "viewer": "native"}, "Isaac Gym"),
    ],
)
def test_flags_that_do_not_fit_are_one_message_with_the_way_out(changes, message):
    """What cannot be done is refused before anything is loaded."""
    with pytest.raises(ConfigError) as caught:
        config(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize("flag", VIEWER_FLAGS)
def test_flags_of_the_viewer_belong_to_it(flag):
    """The calculator ignores none of them silently."""
    values = {"viewer": "web", "host": "::1", "port": 1, "episodes": 2, "record": MP4, "only": "failures"}
    with pytest.raises(ConfigError, match="--" + flag):
        EvaluateConfig(**{flag: values[flag]})


def test_every_kind_of_film_that_may_be_asked_for_can_be_written():
    """The flags know the suffixes without importing what writes the files."""
    assert RECORDING_SUFFIXES == tuple(WRITERS)


def test_number_of_envs_has_a_default_for_each_mode():
    """The calculator takes the published number, the viewer one; who names a number gets it."""
    assert EvaluateConfig().num_envs == 300
    assert config().num_envs == 1
    assert EvaluateConfig(num_envs=7).num_envs == config(num_envs=7).num_envs == 7


@pytest.mark.parametrize("record, viewers", [(None, (None, "auto", "native")), (MP4, (None, "auto", "none"))])
def test_isaac_gym_draws_by_itself(record, viewers):
    """Its own window, or its own film, is what one gets without a flag, and may ask for."""
    for name in viewers:
        assert config(sim=SimConfig("isaacgym"), viewer=name, record=record).viewer == name


# -- the choice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """Return what this machine has, to be changed."""
    has = {"display": True, "draws": True, "viser": True, "asked": []}

    def renderer_of(library):
        has["asked"].append(library)
        return "a GPU" if has["draws"] else None

    monkeypatch.setattr(choices.sys, "platform", "linux")
    monkeypatch.setattr("mapush.viewer.gl.renderer_of", renderer_of)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", lambda: has["asked"].append("gl") or "osmesa")
    monkeypatch.setattr(choices.importlib.util, "find_spec", lambda name: object() if has["viser"] else None)

    def apply(**changes):
        has.update(changes)
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        if has["display"]:
            monkeypatch.setenv("DISPLAY", ":7")
        return has

    return apply


@pytest.mark.parametrize(
    "display, draws, viser, expected, reason",
    [
        (True, True, True, ("native", None), "there is a display"),
        (True, False, True, ("web", None), "the display :7 refuses a window with OpenGL"),
        (False, True, True, ("web", None), "neither DISPLAY nor WAYLAND_DISPLAY is set"),
        (False, True, False, ("none", Path("episodes.mp4")), "viser, which serves a page, is not installed"),
        (True, False, False, ("none", Path("episodes.mp4")), "the display :7 refuses a window with OpenGL"),
    ],
)
def test_auto_takes_the_first_of_window_page_and_file_that_works(machine, display, draws, viser, expected, reason):
    """And says why it is that one."""
    machine(display=display, draws=draws, viser=viser)
    chosen = choose(config())
    assert (chosen.viewer, chosen.record) == expected
    assert reason in chosen.reason


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"record": MP4}, ("none", MP4)),
        ({"record": MP4, "viewer": "auto"}, ("native", MP4)),
        ({"record": MP4, "viewer": "web"}, ("web", MP4)),
        ({"viewer": "web"}, ("web", None)),
        ({"port": 8081}, ("web", None)),
        ({"host": "0.0.0.0", "viewer": "auto"}, ("web", None)),
    ],
)
def test_a_recording_can_be_watched_and_an_address_means_the_page(machine, changes, expected):
    """Also where there is a display."""
    machine()
    chosen = choose(config(**changes))
    assert (chosen.viewer, chosen.record) == expected


def test_a_window_that_cannot_be_opened_is_refused_with_the_way_out(machine):
    """Who asks for a window gets no page; the message says why, and what else there is."""
    for changes, cause in (({"display": False}, "DISPLAY"), ({"display": True, "draws": False}, ":7")):
        machine(**changes)
        with pytest.raises(ConfigError, match="--viewer web") as caught:
            choose(config(viewer="native"))
        assert cause in str(caught.value)


def test_gl_without_a_display_is_looked_for_by_films_alone(machine):
    """A page with a play bar, and a page to watch, need none here."""
    for changes, asked in (({"record": MP4}, ["gl"]), ({"record": Path("a.html")}, []), ({"viewer": "web"}, [])):
        has = machine(asked=[])
        choose(config(**changes))
        assert has["asked"] == asked


# -- from the command line -------------------------------------------------------------------------------------------


@pytest.fixture
def film(monkeypatch):
    """Let what is recorded go to a stand-in, and episodes be short."""
    film = Film()
    short_episodes(monkeypatch)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", lambda: "nothing")
    monkeypatch.setattr("mapush.viewer.recorder.open_film", lambda path, model, title: film)
    return film


def _view(*words):
    return evaluate.main(["cuboid", "--untrained", "--mode", "viewer", "--sim.threads", "1", *map(str, words)])


@pytest.mark.parametrize("words, count", [((), 3), (("--episodes", 2, "--only", "failures"), 2)])
def test_recording_without_a_viewer_ends_by_itself(film, capsys, words, count):
    """After so many episodes, or three; it says where they went."""
    assert _view("--record", MP4, *words) == 0
    assert len(film.added) == count
    assert film.closed
    assert f"recorded to film.mp4: {count}" in capsys.readouterr().out


def test_watching_goes_on_until_ctrl_c_and_then_writes_what_is_recorded(film, monkeypatch, capsys):
    """An end by Ctrl-C is no error, the screen is closed before the film is written, and no simulator is left."""
    log = []

    class Interrupted(Screen):
        def show(self, episode, step, board):
            if episode.number == 2:
                raise KeyboardInterrupt

        def close(self):
            log.append(len(film.added))

    def open_screen(name, model, transport, config, title):
        transport.speed = 1000.0
        return Interrupted()

    monkeypatch.setattr(viewer, "_open_screen", open_screen)
    assert _view("--viewer", "web", "--record", MP4, "--episodes", 5) == 0
    assert log == [0]
    assert [episode.number for episode in film.added] == [1]
    assert film.closed
    assert "viewer web (as asked for)" in capsys.readouterr().out


def test_watching_has_no_end_unless_episodes_are_counted_or_recorded(film, monkeypatch):
    """Who watches may do so for as long as they like."""
    boards = []

    class Playback:
        def __init__(self, env, make_env, agent, transport, board, screens, recording):
            boards.append(board)

        def play(self):
            """Play nothing."""

    monkeypatch.setattr("mapush.viewer.playback.Playback", Playback)
    monkeypatch.setattr(viewer, "_open_screen", lambda *_: Screen())
    monkeypatch.setattr(Screen, "close", lambda self: None, raising=False)
    for words in (("--viewer", "web"), ("--viewer", "web", "--episodes", 4), ("--viewer", "web", "--record", MP4)):
        assert _view(*words) == 0
    assert [board.episodes for board in boards] == [None, 4, 3]


@pytest.mark.parametrize("suffix", [".mp4", ".html"])
def test_recording_into_a_folder_that_does_not_exist_is_one_message(monkeypatch, tmp_path, capsys, suffix):
    """Found out before anything is simulated; no folder is made up."""
    short_episodes(monkeypatch)
    monkeypatch.setattr("mapush.viewer.gl.choose_gl", lambda: "nothing")
    assert _view("--record", tmp_path / "missing" / ("film" + suffix)) == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: cannot record to")
    assert str(tmp_path / "missing") in error
    assert "Traceback" not in error
    assert not (tmp_path / "missing").exists()


# -- what is recorded ------------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch):
    short_episodes(monkeypatch)


def _play_recorded(tmp_path, at_once, only_failures=False, user=None, episodes=2):
    film = Film()
    recording = Recording(film, tmp_path / "film.mp4", only_failures, at_once)
    show = Show(user, recording=recording, episodes=episodes)
    show.play()
    return film, recording, show


@pytest.mark.parametrize("at_once", [True, False])
def test_a_recording_has_the_episodes_that_ended_with_the_measures_before_them(short, tmp_path, at_once):
    """Where somebody watches it is written at the end; an episode that was cut short is not in it."""

    def user(transport):
        yield from until((2, 4))
        transport.next()

    film, recording, show = _play_recorded(tmp_path, at_once, user=user)
    assert len(film.added) == (2 if at_once else 0)
    recording.close()
    assert film.closed
    assert [episode.number for episode in film.added] == [1, 3]
    end = f"time {EPISODE * STEP_DT:.1f} s: timeout"
    assert [text[:2] for text in film.texts] == [("cuboid, episode 1", end), ("cuboid, episode 3", end)]
    assert ["success 0 of 1, finished time" in "\n".join(text) for text in film.texts] == [False, True]


def test_a_recording_of_failures_leaves_successes_out(short, tmp_path):
    """What succeeded is not in it, and is not written later."""

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
    """Ctrl-C leaves out what is not written yet, and closes the film."""
    film, recording, _ = _play_recorded(tmp_path, at_once=False)

    def interrupt(episode, lines_of):
        raise KeyboardInterrupt

    film.add = interrupt
    with pytest.raises(KeyboardInterrupt):
        recording.close()
    assert film.closed
    assert "film.mp4: 0" in capsys.readouterr().out


# -- the board and the controls --------------------------------------------------------------------------------------


def _episode(number=1, length=100, **outcome):
    qpos = np.zeros(2 * 19 + 7, np.float32)
    frame = Frame(qpos, np.array((3.0, 4.0)), np.zeros((2, 3)), {"target": 0.25, "push": -0.5})
    return Episode(number, 0, [frame] * length, outcome)


def _outcome(success, seconds, share):
    rest = {"collision": 1.0 - success, "fall": 0.0, "timeout": 0.0, "collision_degree": 0.0}
    return dict(rest, success=success, finished_time=seconds, collaboration=share)


def test_board_after_episodes_tells_the_measures_of_the_calculator():
    """Rates and times over all episodes, degrees over the successes; nothing is made up before there is one."""
    board = Scoreboard("tblock", episodes=5)
    first = _episode(4)
    assert all(math.isnan(value) for value in board.totals().values())
    lines = ("tblock, episode 4", "time 0.5 s", "object to goal 5.00 m", "reward -0.250", "target +0.250   push -0.500")
    assert board.lines(first, first.frames[24], 24) == lines
    for success, seconds, share in ((1.0, 6.0, 0.4), (0.0, 20.0, 0.9), (1.0, 10.0, 0.2)):
        board.add(_episode(length=int(50 * seconds), **_outcome(success, seconds, share)))
    assert board.totals() == pytest.approx(
        {"success_rate": 2 / 3, "finished_time": 12.0, "collision_degree": 0.0, "collaboration_degree": 0.3}
    )
    ended = _episode(4, **_outcome(0.0, 20.0, 0.0))
    assert board.lines(ended, ended.frames[99], 99) == (
        "tblock, episode 4",
        "time 2.0 s: collision",
        *lines[2:],
        "last: success after 10.0 s",
        "success 2 of 3, finished time 12.0 s",
        "collaboration 0.30, collision 0.00",
    )
    assert board.lines(ended, ended.frames[98], 98)[1] == "time 2.0 s"


def test_board_does_not_grow_with_the_episodes():
    """Whoever watches for a day needs no more memory than after a minute."""
    sizes, board = [], Scoreboard("cuboid")
    for _ in range(2):
        for number in range(200):
            board.add(_episode(**_outcome(float(number % 3 > 0), 5.0, 0.5)))
        sizes.append(len(pickle.dumps(board)))
    assert sizes[1] - sizes[0] < 10
    assert board.totals()["success_rate"] == pytest.approx(266 / 400)


def test_board_of_failures_counts_them_but_does_not_wait_for_ever():
    """A policy that hardly ever fails is not played until the end of time."""
    board = Scoreboard("cuboid", episodes=2, only_failures=True)
    for success in (1.0, 0.0, 1.0):
        board.add(_episode(**_outcome(success, 5.0, 0.5)))
    assert not board.over
    board.add(_episode(**_outcome(0.0, 5.0, 0.5)))
    assert board.over
    flawless = Scoreboard("cuboid", episodes=2, only_failures=True)
    for _ in range(2 * ATTEMPTS):
        assert not flawless.over
        flawless.add(_episode(**_outcome(1.0, 5.0, 0.5)))
    assert flawless.over
    assert not Scoreboard("cuboid").over


def test_transport_hands_wishes_on_in_their_order():
    """Each once; a step pauses; there is always a next env and a next speed."""
    transport = Transport(num_envs=3)
    transport.next()
    transport.step()
    transport.follow -= 1
    transport.reseed(12)
    transport.previous()
    transport.quit()
    taken = [transport.take(0.0) for _ in range(7)]
    assert taken == [Wish.NEXT, Wish.STEP, Wish.FOLLOW, Wish.RESEED, Wish.PREVIOUS, Wish.QUIT, None]
    assert (transport.paused, transport.follow, transport.seed) == (True, 2, 12)
    for by, expected in ((1, 2.0), (-2, 0.5), (-99, SPEEDS[0]), (99, SPEEDS[-1])):
        transport.faster(by)
        assert transport.speed == expected
