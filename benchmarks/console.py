"""The console with 2,000 nodes on one page, in Chromium: how long a frame takes while all lamps change."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.table import Figure, render
from tests.testbed.broker import PrivateBroker
from tests.testbed.browser import chromium
from tests.testbed.console_site import console_site
from tests.testbed.messages import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.testbed.console_site import ConsoleSite

NODES = 2000
ROUNDS = 10
# Frames' lengths between two calls of requestAnimationFrame, in ms, until `stop` is called.
_WATCH = """
() => {
  window.frames_ = [];
  let last = performance.now();
  window.watching = true;
  const look = (now) => { window.frames_.push(now - last); last = now; if (window.watching) requestAnimationFrame(look); };
  requestAnimationFrame(look);
}
"""
_STOP = "() => { window.watching = false; return window.frames_; }"


def main() -> int:
    """Measure, print; 0 whether or not the aims are reached."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-console-") as folder,
        PrivateBroker(Path(folder) / "broker") as broker,
        chromium() as browser,
    ):
        Path(folder).chmod(0o755)
        url = broker.amqp_url(broker.create_vhost())
        groups = {"one": f"a[1-{NODES // 2}]", "two": f"b[1-{NODES // 2}]"}
        with console_site(Path(folder) / "site", url, groups) as made:
            made.set_nodes(lamps(lit=False))
            page = browser.new_page(viewport={"width": 1360, "height": 900})
            page.goto(made.url)
            page.locator("a[data-node=a1].out").wait_for()
            rest = frames(page, lambda: page.wait_for_timeout(3000))
            changing: list[float] = []
            delays: list[float] = []
            for number in range(ROUNDS):
                flipped = partial(flip, made, page, number % 2 == 0, delays)
                changing += frames(page, flipped)
            load = loaded(page, made)
            made.set_nodes(lamps(lit=True))
            made.open_requests(command(node, generation=time.time_ns()) for node in lamps(lit=True))
            page.locator(f"a[data-node=b{NODES // 2}].lighting").wait_for(timeout=30_000)
            lighting = frames(page, lambda: page.wait_for_timeout(3000))
    print(f"{NODES} lamps, all of them changed {ROUNDS} times")
    figures = [
        Figure("longest frame", max(changing), 200, "ms"),
        Figure("longest frame at rest", max(rest), 200, "ms"),
        Figure("longest frame, all lighting", max(lighting), 200, "ms"),
        Figure("median frame", statistics.median(changing), 200, "ms"),
        Figure("from the store to the page, median", statistics.median(delays), 2500, "ms"),
        Figure("page loaded and drawn", load, 2000, "ms"),
    ]
    print(render(figures))
    return 0


def lamps(*, lit: bool) -> dict[str, tuple[str, str | None]]:
    """All nodes lit, or all out."""
    how: tuple[str, str | None] = ("up", "ACTIVE") if lit else ("down", "SHUTOFF")
    return {f"{g}{n}": how for g in "ab" for n in range(1, NODES // 2 + 1)}


def frames(page: Page, act: Callable[[], object]) -> list[float]:
    """The frames' lengths while something is done."""
    page.evaluate(_WATCH)
    act()
    found: list[float] = page.evaluate(_STOP)
    return found[1:]


def flip(made: ConsoleSite, page: Page, lit: bool, delays: list[float]) -> None:  # noqa: FBT001 - for partial
    """Change all lamps, and wait until the page shows it; notes how long that took, ms."""
    made.set_nodes(lamps(lit=lit))
    began = time.perf_counter()
    page.locator(f"a[data-node=b{NODES // 2}].{'lit' if lit else 'out'}").wait_for(timeout=30_000)
    page.wait_for_timeout(300)
    delays.append((time.perf_counter() - began - 0.3) * 1000)


def loaded(page: Page, made: ConsoleSite) -> float:
    """Load the page and wait until it is drawn; ms."""
    began = time.perf_counter()
    page.goto(made.url, wait_until="load")
    page.evaluate("() => new Promise(requestAnimationFrame)")
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
