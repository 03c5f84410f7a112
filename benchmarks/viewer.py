"""The page in the browser: `python -m benchmarks.viewer [--minutes 1]`.

Plays the shipped cuboid policy on two cores, in real time, while a headless Chromium on the same cores watches. Prints
lines of `name.metric value`:

  viewer.real_time_factor  simulated by real time, within episodes
  viewer.applied_ms        from an env step to the animation frame in which the browser has it
  viewer.drawn_ms          to the first animation frame after its picture has been drawn; slow without a GPU
  viewer.pictures_per_s    that differ, in the browser
  viewer.rss_mib           of the program: at first, and the least and the greatest of the second half
  viewer.rss_kib_per_min   slope of the second half
"""

from __future__ import annotations

import argparse
import array
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

import numpy as np
import psutil

from mapush.assembly import share_the_cores
from mapush.sim.physics import STEP_DT

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.evaluation.episode import Episode
    from mapush.viewer.scoreboard import Scoreboard
    from mapush.viewer.web import WebScreen

CORES = 2
SAMPLE_S = 2.0
WARM_UP_MS = 5000.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE_GL = ("--enable-unsafe-swiftshader", "--no-sandbox")  # without a GPU, as Chromium itself falls back

Step = Tuple[int, int]  # number of an episode, and of an env step in it, counted from 1
Seen = Sequence[Any]  # of three: what the page said, when it had it, and when it had drawn it [ms]

# viser applies a message and draws the scene in one animation frame; the panel's text follows before that frame ends.
# What was drawn is out when the fence behind it has passed and the next animation frame begins.
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
    """A page that notes when it is given each env step, and what became of those that were seen.

    Stamps are dropped as soon as a later step was seen, and what is kept for good are numbers of 8 bytes, so that the
    memory of the program is not that of its measurement.
    """

    closed = False

    def __init__(self, screen: WebScreen) -> None:
        self._screen = screen
        self._given: Dict[Step, float] = {}
        self._last: Optional[Tuple[Step, float]] = None
        self.simulated = self.real = 0.0
        self.applied, self.drawn = array.array("d"), array.array("d")

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Note the time, and show the frame."""
        now, this = time.time(), (episode.number, step + 1)
        self._given[this] = now
        if self._last is not None and self._last[0] == (this[0], this[1] - 1):
            self.simulated, self.real = self.simulated + STEP_DT, self.real + now - self._last[1]
        self._last = this, now
        self._screen.show(episode, step, board)

    def saw(self, seen: Sequence[Seen]) -> None:
        """Compare when steps were given to the page with when the browser had them."""
        for text, applied, drawn in seen:
            _, number, seconds, _ = text.split()
            step = int(number), round(float(seconds) / STEP_DT)
            if step in self._given:
                self.applied.append(applied - 1000.0 * self._given[step])
                self.drawn.append(drawn - 1000.0 * self._given[step])
            for old in [one for one in list(self._given) if one <= step]:
                del self._given[old]

    def close(self) -> None:
        """Close the page."""
        self._screen.close()


class Watcher(threading.Thread):
    """A browser that looks at the page for a while, and then ends the program.

    Args:
      address: of the page.
      screen: what is told of what was seen.
      minutes: for how long.
      end: what ends the program.
    """

    def __init__(self, address: str, screen: StampedScreen, minutes: float, end: Any) -> None:
        super().__init__(name="watcher")
        self._address, self._screen, self._minutes, self._end = address, screen, minutes, end
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
            for _ in range(2):  # without a GPU, the page opens itself again
                page.wait_for_selector('[data-name="time"]', timeout=120_000)
                page.wait_for_timeout(WARM_UP_MS)
            page.evaluate(_WATCH)
            program, begin = psutil.Process(), time.monotonic()
            while time.monotonic() - begin < 60.0 * self._minutes:
                page.wait_for_timeout(1000.0 * SAMPLE_S)
                self._screen.saw(page.evaluate(_TAKE))
                self.rss.append((time.monotonic() - begin, program.memory_info().rss / 2**20))
            browser.close()


def measure(minutes: float) -> Dict[str, float]:
    """Watch the shipped policy for `minutes`, and return the metrics."""
    from mapush.assembly import resolve
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.playback import Playback
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard
    from mapush.viewer.web import WebScreen

    config, _ = resolve(EvaluateConfig("cuboid"))
    team = load_in_env(config, checkpoint_paths(config)[-1], num_envs=1)
    env, transport = cast("PushEnv", team.env), Transport()
    web = WebScreen(build_model(Scene(2, OBJECTS["cuboid"])), transport, port=0)
    screen = StampedScreen(web)
    watcher = Watcher(web.address, screen, minutes, transport.quit)
    watcher.start()
    Playback(env, lambda seed: env, team.policy.agent, transport, Scoreboard("cuboid"), [screen]).play()
    watcher.join()
    screen.close()
    return {
        "real_time_factor": screen.simulated / screen.real,
        "pictures_per_s": len(screen.drawn) / watcher.rss[-1][0],
        **_latency(screen),
        **_memory(watcher.rss),
    }


def _latency(screen: StampedScreen) -> Dict[str, float]:
    metrics = {}
    for name, waits in (("applied_ms", screen.applied), ("drawn_ms", screen.drawn)):
        middle, high = np.percentile(waits, (50, 95))
        metrics.update({name + ".p50": middle, name + ".p95": high})
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
        print(f"viewer.cores {len(cores)}")
    for name, value in measure(options.minutes).items():
        print(f"viewer.{name} {value:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
