"""Measure the viewer in a browser: `python -m benchmarks.viewer [--minutes 1]`.

Plays the shipped cuboid policy on two cores, in real time, while a headless Chromium on the same cores watches. Prints
lines of `name.metric value`:

  viewer.real_time_factor  simulated time divided by real time, within episodes
  viewer.applied_ms        from an env step to the animation frame in which the browser has received it
  viewer.drawn_ms          from an env step to the first animation frame after it was drawn; slow without a GPU
  viewer.pictures_per_s    different pictures per second in the browser
  viewer.rss_mib           memory of the program: the first value, and smallest and largest of the second half
  viewer.rss_kib_per_min   slope of the memory in the second half
"""

from __future__ import annotations

import argparse
import array
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple, cast

import numpy as np
import psutil

from mapush.assembly import share_the_cores
from mapush.sim.physics import STEP_DT

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.evaluation.episode import Episode
    from mapush.viewer.scoreboard import Scoreboard
    from mapush.viewer.web.browser_screen import WebScreen

CORES = 2
SAMPLE_S = 2.0
WARM_UP_MS = 5000.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE_GL = ("--enable-unsafe-swiftshader", "--no-sandbox")  # what Chromium falls back to without a GPU

Step = Tuple[int, int]  # number of an episode, and number of an env step in it, counted from 1
Seen = Tuple[str, float, float]  # text of the page, when the page had it, and when it was drawn [ms]

# viser applies a message and draws the scene in one animation frame; the panel's text changes before that frame ends.
# A picture is complete when the fence after its drawing commands has passed and the next animation frame begins.
_WATCH = """
() => {
  window.seen = [];
  const gl = document.querySelector("canvas[data-engine]").getContext("webgl2");
  const clock = () => performance.timeOrigin + performance.now();
  const text = name => document.querySelector(`[data-name="${name}"]`)?.innerText || "";
  const passed = fence => new Promise(done => {
    const ask = () => gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.SIGNALED ? done() : setTimeout(ask, 1);
    ask();
  });
  let last = "";
  const look = async () => {
    const now = text("episode") + " " + text("time");
    if (now === last) return;
    last = now;
    const applied = clock(), fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    await passed(fence);
    gl.deleteSync(fence);
    requestAnimationFrame(() => window.seen.push([now, applied, clock()]));
  };
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}
"""
_TAKE = "() => window.seen.splice(0)"


class StampedScreen:
    """A page that notes when it gets each env step, and how long the browser took to show it.

    Time stamps are dropped as soon as the browser has shown a later step, and results are kept in arrays of 8 bytes per
    number, so that the memory of the measurement does not count as memory of the program.

    Args:
      screen: the page.

    Attributes:
      simulated: simulated time within episodes [s].
      real: real time within episodes [s].
      applied: delays until the browser had received an env step [ms].
      drawn: delays until the browser had drawn an env step [ms].
    """

    closed = False

    def __init__(self, screen: WebScreen) -> None:
        self._screen = screen
        self._given: Dict[Step, float] = {}
        self._last: Optional[Tuple[Step, float]] = None
        self.simulated = 0.0
        self.real = 0.0
        self.applied = array.array("d")
        self.drawn = array.array("d")

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Note the time, and show the frame."""
        now = time.time()
        number, count = episode.number, step + 1
        self._given[number, count] = now
        if self._last is not None:
            last_step, last_time = self._last
            if last_step == (number, count - 1):
                self.simulated += STEP_DT
                self.real += now - last_time
        self._last = (number, count), now
        self._screen.show(episode, step, board)

    def add_seen(self, seen: Sequence[Seen]) -> None:
        """Compute the delays of the env steps that the browser has shown."""
        for text, applied, drawn in seen:
            _, number, seconds, _ = text.split()  # as in "Episode 3 1.24 s"
            step = int(number), round(float(seconds) / STEP_DT)
            if step in self._given:
                given_ms = 1000.0 * self._given[step]
                self.applied.append(applied - given_ms)
                self.drawn.append(drawn - given_ms)
            for given in list(self._given):
                if given <= step:
                    del self._given[given]

    def close(self) -> None:
        """Close the page."""
        self._screen.close()


class Watcher(threading.Thread):
    """A browser that watches the page for some time, and then ends the program.

    Args:
      address: address of the page.
      screen: gets what the browser has shown.
      minutes: how long to watch.
      end: called at the end.

    Attributes:
      rss: times [s] and the memory of the program at these times [MiB].
    """

    def __init__(self, address: str, screen: StampedScreen, minutes: float, end: Callable[[], None]) -> None:
        super().__init__(name="watcher")
        self.rss: List[Tuple[float, float]] = []
        self._address = address
        self._screen = screen
        self._minutes = minutes
        self._end = end

    def run(self) -> None:
        """Watch."""
        try:
            self._watch()
        finally:
            self._end()

    def _watch(self) -> None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=find_browser(), args=list(SOFTWARE_GL))
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(self._address)
            for _ in range(2):  # without a GPU, the page reopens itself once
                page.wait_for_selector('[data-name="time"]', timeout=120_000)
                page.wait_for_timeout(WARM_UP_MS)
            page.evaluate(_WATCH)
            program = psutil.Process()
            start = time.monotonic()
            while time.monotonic() - start < 60.0 * self._minutes:
                page.wait_for_timeout(1000.0 * SAMPLE_S)
                self._screen.add_seen(page.evaluate(_TAKE))
                self.rss.append((time.monotonic() - start, program.memory_info().rss / 2**20))
            browser.close()


def find_browser() -> str:
    """Return the path of a browser.

    Raises:
      RuntimeError: none is installed.
    """
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    raise RuntimeError(f"no browser is installed: one of {', '.join(BROWSERS)}")


def measure(minutes: float) -> Dict[str, float]:
    """Watch the shipped policy, and return the metrics.

    Args:
      minutes: how long to watch.
    """
    from mapush.assembly import resolve
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.playback import Playback
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard
    from mapush.viewer.web.browser_screen import WebScreen

    config, _ = resolve(EvaluateConfig("cuboid"))
    team = load_in_env(config, checkpoint_paths(config)[-1], num_envs=1)
    env = cast("PushEnv", team.env)
    transport = Transport()
    web = WebScreen(build_model(Scene(2, OBJECTS["cuboid"])), transport, port=0)
    screen = StampedScreen(web)
    watcher = Watcher(web.address, screen, minutes, transport.quit)
    watcher.start()
    Playback(env, lambda seed: env, team.policy.agent, transport, Scoreboard("cuboid"), [screen]).play()
    watcher.join()
    screen.close()
    watched_s, _ = watcher.rss[-1]
    metrics = {
        "real_time_factor": screen.simulated / screen.real,
        "pictures_per_s": len(screen.drawn) / watched_s,
    }
    metrics.update(_delays("applied_ms", screen.applied))
    metrics.update(_delays("drawn_ms", screen.drawn))
    metrics.update(_memory(watcher.rss))
    return metrics


def _delays(name: str, delays: Sequence[float]) -> Dict[str, float]:
    median, high = np.percentile(delays, (50, 95))
    return {f"{name}.p50": median, f"{name}.p95": high}


def _memory(rss: Sequence[Tuple[float, float]]) -> Dict[str, float]:
    _, first = rss[0]
    times, memory = np.array(rss[len(rss) // 2 :]).T
    mib_per_s, _ = np.polyfit(times, memory, 1)
    return {
        "rss_mib.first": first,
        "rss_mib.least": memory.min(),
        "rss_mib.greatest": memory.max(),
        "rss_kib_per_min": mib_per_s * 1024.0 * 60.0,
    }


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to watch (default 1)")
    options = parser.parse_args(argv)
    share_the_cores()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[:CORES]
        os.sched_setaffinity(0, cores)
        print(f"viewer.cores {len(cores)}")
    for name, value in measure(options.minutes).items():
        print(f"viewer.{name} {value:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
