"""The page in the browser: `python -m benchmarks.viewer [--minutes 1]`.

Plays the shipped cuboid policy on two cores, in real time, while a headless Chromium on the same cores watches. Prints
lines of `name.metric value`:

  viewer.real_time_factor  simulated by real time, within episodes
  viewer.applied_ms        from an env step to the animation frame in which the browser has it
  viewer.drawn_ms          to the next animation frame, when the picture is out; slow without a GPU
  viewer.pictures_per_s    that differ, in the browser
  viewer.rss_mib           of the program: at first, and the least and the greatest of the second half
  viewer.rss_kib_per_min   slope of the second half
"""

from __future__ import annotations

import argparse
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

import numpy as np
import psutil

from mapush.assembly import share_the_cores
from mapush.sim.base import STEP_DT

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.viewer.board import Scoreboard
    from mapush.viewer.episode import Episode
    from mapush.viewer.web import WebScreen

CORES = 2
SAMPLE_S = 2.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE_GL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")

Step = Tuple[int, int]  # number of an episode, and of an env step in it, counted from 1
Seen = Tuple[str, float, float]  # what the page said, when it had it, and when it had drawn it [ms]

_WATCH = """
() => {
  window.seen = [];
  let last = "";
  const text = name => document.querySelector(`[data-name="${name}"]`)?.innerText || "";
  const look = () => {
    const now = text("episode") + " " + text("time"), clock = () => performance.timeOrigin + performance.now();
    if (now !== last) {
      const applied = clock();
      requestAnimationFrame(() => window.seen.push([now, applied, clock()]));
      last = now;
    }
    requestAnimationFrame(look);
  };
  look();
}
"""
_TAKE = "() => window.seen.splice(0)"


class StampedScreen:
    """A page that notes when it is given each env step."""

    closed = False

    def __init__(self, screen: WebScreen) -> None:
        self._screen = screen
        self.given: Dict[Step, float] = {}

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Note the time, and show the frame."""
        self.given.setdefault((episode.number, step + 1), time.time())
        self._screen.show(episode, step, board)

    def close(self) -> None:
        """Close the page."""
        self._screen.close()


class Watcher(threading.Thread):
    """A browser that looks at the page for a while, and then ends the program.

    Args:
      address: of the page.
      minutes: for how long.
      end: what ends the program.
    """

    def __init__(self, address: str, minutes: float, end: Any) -> None:
        super().__init__(name="watcher")
        self._address, self._minutes, self._end = address, minutes, end
        self.seen: List[Seen] = []
        self.rss: List[Tuple[float, float]] = []

    def run(self) -> None:
        """Watch."""
        try:
            self._watch()
        finally:
            self._end()

    def _watch(self) -> None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            path = next(filter(None, map(shutil.which, BROWSERS)))
            browser = playwright.chromium.launch(executable_path=path, args=list(SOFTWARE_GL))
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(self._address)
            page.wait_for_selector('[data-name="time"]', timeout=120_000)
            page.evaluate(_WATCH)
            program, begin = psutil.Process(), time.monotonic()
            while time.monotonic() - begin < 60.0 * self._minutes:
                page.wait_for_timeout(1000.0 * SAMPLE_S)
                self.seen += map(tuple, page.evaluate(_TAKE))
                self.rss.append((time.monotonic() - begin, program.memory_info().rss / 2**20))
            browser.close()


def measure(minutes: float) -> Dict[str, float]:
    """Watch the shipped policy for `minutes`, and return the metrics."""
    from mapush.assembly import resolve
    from mapush.candidates import checkpoint_paths, load_candidate
    from mapush.evaluate import EvaluateConfig
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.board import Scoreboard
    from mapush.viewer.player import Player
    from mapush.viewer.transport import Transport
    from mapush.viewer.web import WebScreen

    config, _ = resolve(EvaluateConfig("cuboid"))
    team = load_candidate(config, checkpoint_paths(config)[-1], num_envs=1)
    env, transport = cast("PushEnv", team.env), Transport()
    web = WebScreen(build_model(Scene(2, OBJECTS["cuboid"])), transport, port=0)
    screen, watcher = StampedScreen(web), Watcher(web.address, minutes, transport.quit)
    watcher.start()
    Player(env, lambda seed: env, team.agent, transport, Scoreboard("cuboid"), [screen]).play()
    watcher.join()
    screen.close()
    return {**_pace(screen.given), **_latency(screen.given, watcher.seen), **_memory(watcher.rss)}


def _pace(given: Dict[Step, float]) -> Dict[str, float]:
    simulated = real = 0.0
    for (episode, step), when in given.items():
        before = given.get((episode, step - 1))
        if before is not None:
            simulated, real = simulated + STEP_DT, real + when - before
    return {"real_time_factor": simulated / real}


def _latency(given: Dict[Step, float], seen: Sequence[Seen]) -> Dict[str, float]:
    """Compare when steps were given to the page with when the browser had them."""
    waits = []
    for text, applied, drawn in seen:
        _, number, seconds, _ = text.split()
        step = int(number), round(float(seconds) / STEP_DT)
        if step in given:
            waits.append((applied - 1000.0 * given[step], drawn - 1000.0 * given[step]))
    middle, high = np.percentile(waits, (50, 95), axis=0)
    metrics = {"pictures_per_s": 1000.0 * len(seen) / (seen[-1][1] - seen[0][1])}
    for index, name in enumerate(("applied_ms", "drawn_ms")):
        metrics.update({name + ".p50": middle[index], name + ".p95": high[index]})
    return metrics


def _memory(rss: Sequence[Tuple[float, float]]) -> Dict[str, float]:
    late = np.array(rss[len(rss) // 2 :])
    slope = np.polyfit(late[:, 0], late[:, 1], 1)[0]
    values = {"first": rss[0][1], "least": late[:, 1].min(), "greatest": late[:, 1].max()}
    memory = {"rss_mib." + name: value for name, value in values.items()}
    return dict(memory, rss_kib_per_min=slope * 1024.0 * 60.0)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to watch (default 1)")
    options = parser.parse_args(argv)
    share_the_cores()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(0, cores)
        print("viewer.cores {}".format(len(cores)))
    for name, value in measure(options.minutes).items():
        print("viewer.{} {:.3f}".format(name, value), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
