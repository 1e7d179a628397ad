"""The console with 2,000 nodes on one page, in Chromium: the length of frames while all lamps change."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.results import publish
from benchmarks.table import Figure
from benchmarks.timing import duration, temporary_folder
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
# Collects the lengths of frames, in ms, between calls of requestAnimationFrame, until _STOP.
_WATCH = """
() => {
  window.frames_ = [];
  let last = performance.now();
  window.watching = true;
  const frame = (now) => { window.frames_.push(now - last); last = now; if (window.watching) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}
"""
_STOP = "() => { window.watching = false; return window.frames_; }"


def main() -> None:
    """`python -m benchmarks.console`."""
    with (
        temporary_folder() as folder,
        PrivateBroker(folder / "broker") as broker,
        chromium() as browser,
    ):
        url = broker.amqp_url(broker.create_vhost())
        groups = {"one": f"a[1-{NODES // 2}]", "two": f"b[1-{NODES // 2}]"}
        with console_site(folder / "site", url, groups) as made:
            made.set_nodes(lamps(lit=False))
            page = browser.new_page(viewport={"width": 1360, "height": 900})
            page.goto(made.url)
            page.locator("a[data-node=a1].out").wait_for()
            idle = frames(page, lambda: page.wait_for_timeout(3000))
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
    figures = [
        Figure("longest frame", max(changing), 200, "ms"),
        Figure("longest frame without changes", max(idle), 200, "ms"),
        Figure("longest frame, all lighting", max(lighting), 200, "ms"),
        Figure("median frame", statistics.median(changing), 200, "ms"),
        Figure("from the store to the page, median", statistics.median(delays), 2500, "ms"),
        Figure("page loaded and drawn", load, 2000, "ms"),
    ]
    publish(
        f"The console with {NODES:,} nodes on one page, in Chromium",
        f"The length of frames, while all nodes change their state {ROUNDS} times.",
        figures,
    )


def lamps(*, lit: bool) -> dict[str, tuple[str, str | None]]:
    """Return the states of all nodes: all lit, or all out."""
    state: tuple[str, str | None] = ("up", "ACTIVE") if lit else ("down", "SHUTOFF")
    return {f"{g}{n}": state for g in "ab" for n in range(1, NODES // 2 + 1)}


def frames(page: Page, act: Callable[[], object]) -> list[float]:
    """Return the lengths of the frames during an action."""
    page.evaluate(_WATCH)
    act()
    found: list[float] = page.evaluate(_STOP)
    return found[1:]


def flip(made: ConsoleSite, page: Page, lit: bool, delays: list[float]) -> None:  # noqa: FBT001 - for partial
    """Change all lamps and wait until the page shows it; append the delay in ms."""
    made.set_nodes(lamps(lit=lit))
    began = time.perf_counter()
    page.locator(f"a[data-node=b{NODES // 2}].{'lit' if lit else 'out'}").wait_for(timeout=30_000)
    page.wait_for_timeout(300)
    delays.append((time.perf_counter() - began - 0.3) * 1000)


def loaded(page: Page, made: ConsoleSite) -> float:
    """Load the page and wait until it is drawn; return the ms."""

    def load() -> None:
        page.goto(made.url, wait_until="load")
        page.evaluate("() => new Promise(requestAnimationFrame)")

    return duration(load) * 1000


if __name__ == "__main__":
    main()
