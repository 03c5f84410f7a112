"""A real browser for tests, without a display and without a GPU.

What is asserted of a page is waited for: its parts are not drawn at once. The page loses a change that another one
follows within 50 ms (viser 1.1): wait for its effect in between, or let it `settle`.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from typing import TYPE_CHECKING, Any, Iterator

from selection import BROWSERS

if TYPE_CHECKING:
    from playwright.sync_api import Page

SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZE = {"width": 1200, "height": 960}  # all of the panel fits
COARSE = "?fixedDpr=0.5"  # half the resolution: drawn in software, pictures cost more than all else
TIMEOUT_MS = 120_000


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """Run a browser."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*SOFTWARE_GL, "--no-sandbox"])
        yield browser
        browser.close()


def visit(browser: Any, address: str) -> Page:
    """Open `address` in a window of its own, and wait until the scene and the panel are there."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address + COARSE)
    page.locator("canvas").first.wait_for(state="attached")
    page.get_by_role("button", name="Restart from seed").wait_for()
    return page


def said(page: Page, name: str) -> str:
    """Return what the panel says of `name` at this moment."""
    return page.locator(f'[data-name="{name}"]').first.inner_text()


def wait_for(page: Page, name: str, text: Any) -> None:
    """Wait until the panel says `text`, all of a string or part of a pattern, of `name`."""
    page.locator(f'[data-name="{name}"]').and_(page.get_by_text(text, exact=True)).first.wait_for()


def wait_until_still(page: Page, name: str, seconds: float) -> None:
    """Wait until the panel has shown the same text for `name` during `seconds`.

    Right after "Pause", the env step in progress still ends and is shown.
    """
    deadline = time.monotonic() + TIMEOUT_MS / 1000.0
    text, since = said(page, name), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, f"{name} does not stand still: {text}"
        page.wait_for_timeout(50)
        now = said(page, name)
        if now != text:
            text, since = now, time.monotonic()


def settle(page: Page) -> None:
    """Let the page draw and send what it was told, by its own clock."""
    for wait in ("requestAnimationFrame", "requestAnimationFrame", "done => setTimeout(done, 200)"):
        page.evaluate(f"new Promise({wait})")


def press(page: Page, button: str) -> None:
    """Press `button`."""
    page.get_by_role("button", name=button, exact=True).click()


def field(page: Page, label: str) -> Any:
    """Return the text field of the number or the slider that is called `label`."""
    number = "input[@inputmode='decimal']"
    return page.get_by_text(label, exact=True).locator(f"xpath=ancestor::div[.//{number}][1]//{number}")


def enter(page: Page, label: str, value: Any) -> None:
    """Type `value` into the field that is called `label`."""
    field(page, label).fill(str(value))
    field(page, label).press("Enter")
