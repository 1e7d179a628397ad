"""The console in a real browser: live updates, keyboard, accessibility, no requests to other hosts."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from ops.console.operators import digest
from schemas.headers import CAUSE_MESSAGE
from tests.testbed.browser import axe_source, chromium, violations
from tests.testbed.console_site import NS, console_site, failed, ran, resumed, suspended
from tests.testbed.messages import command, dead_letter
from workers.broker import topology

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, ViewportSize

    from tests.testbed.broker import Broker
    from tests.testbed.console_site import ConsoleSite

TOKEN = "a token"
LONG = command("z" * 60)
PHONE: ViewportSize = {"width": 360, "height": 780}


@pytest.fixture(scope="module")
def made(session_dir: Path, broker: Broker) -> Iterator[ConsoleSite]:
    """A console with nodes, requests and dead letters in every state."""
    folder = session_dir / "browser"
    folder.mkdir()
    (folder / "operators").touch(mode=0o600)
    (folder / "operators").write_text(f"anna sha256:{digest(TOKEN)}\n")
    url = broker.amqp_url(broker.create_vhost())
    groups = {"compute": "node[1-60]", "gpu": "gpu[1-8]"}
    with console_site(folder, url, groups, 'operators_file = "operators"\n') as found:
        now = time.time_ns()
        states: dict[str, tuple[str, str | None]] = {
            f"node{n}": ("up", "ACTIVE") if n < 30 else ("down", "SHUTOFF") for n in range(1, 61)
        }
        found.set_nodes(
            {
                **states,
                "gpu1": ("up", "quota"),
                "gpu2": ("up", "SHUTOFF"),
                "gpu3": ("down", "ACTIVE"),
            }
        )
        resuming = command("gpu2", generation=now - 9 * NS)
        found.open_requests([resuming, command("gpu3", generation=now - 5 * NS)])
        found.record(
            [
                *resumed("node1", now - 900 * NS),
                *ran("node1", 4711, now - 930 * NS),
                *suspended("node1", now - 300 * NS),
                *failed("gpu1", now - 60 * NS),
            ]
        )
        wide = dead_letter(LONG, cause="x" * 200, more={CAUSE_MESSAGE: "y" * 2000})
        few = [dead_letter(command(f"gpu{n}", generation=now)) for n in (1, 4)]
        found.site.publish([*few, wide])
        found.site.wait_depth(topology.DEAD_LETTER_QUEUE, 3)
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(made: ConsoleSite, browser: Browser) -> Iterator[Page]:
    """A page that must log no error and request nothing from another host."""
    context = browser.new_context(base_url=made.url)
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    opened.on(
        "request", lambda sent: None if sent.url.startswith(made.url) else wrong.append(sent.url)
    )
    yield opened
    context.close()
    assert not wrong


def test_lamp_on_an_open_page_follows_its_node(made: ConsoleSite, page: Page) -> None:
    page.goto("/")
    lamp = page.locator('a[data-node="node40"]')
    assert lamp.get_attribute("class") == "out"
    made.set_nodes({"node40": ("up", "ACTIVE")})
    page.locator('a[data-node="node40"].lit').wait_for(timeout=5000)
    assert lamp.get_attribute("aria-label") == "node40: lit"
    page.get_by_role("heading", name="30 of 68 nodes lit").wait_for(timeout=5000)
    made.set_nodes({"node40": ("down", "SHUTOFF")})
    page.locator('a[data-node="node40"].out').wait_for(timeout=5000)


def test_arrow_keys_move_between_lamps(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.locator('a[data-node="node1"]').focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.node") == "node2"
    assert page.locator("#tip").text_content() == "node2: lit"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.node") == "gpu1", "a group is one tab stop"
    page.locator('a[data-node="node2"]').focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/nodes/node2")


def test_dead_letter_is_replayed_from_the_page(made: ConsoleSite, page: Page) -> None:
    page.goto("/dead-letters")
    page.get_by_role("link", name="Log in").first.click()
    page.get_by_label("Operator's token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.goto("/dead-letters")
    page.get_by_role("checkbox", name="gpu4").check()
    cause = page.get_by_role("region", name="quota 2 letters")
    cause.get_by_label("Reason").fill("there is room again")
    cause.get_by_role("button", name="Replay selected").click()
    page.get_by_text("1 replayed.").wait_for(timeout=10_000)
    assert page.get_by_role("heading", name="2 dead letters").is_visible()
    made.site.wait_depth(topology.RESUME_QUEUE, 1)
    made.site.drain(topology.RESUME_QUEUE)
    made.site.publish([dead_letter(command("gpu4", generation=time.time_ns()))])


def test_a_node_is_held_and_released_from_its_page(page: Page) -> None:
    page.goto("/nodes/gpu5")
    page.get_by_role("link", name="Log in").first.click()
    page.get_by_label("Operator's token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/nodes/gpu5")
    page.get_by_label("Reason").fill("its fan is loud")
    page.get_by_role("button", name="Hold").click()
    page.get_by_text("its fan is loud: nothing powers it on or off").wait_for(timeout=10_000)
    page.goto("/")
    page.get_by_role("link", name="on hold", exact=True).click()
    page.wait_for_url("**/attention#on-hold")
    page.get_by_role("link", name="gpu5").click()
    page.get_by_role("button", name="Release").click()
    page.get_by_role("button", name="Hold").wait_for(timeout=10_000)
    assert not page.get_by_text("its fan is loud").is_visible()


def test_labels_of_the_chart_are_legible_on_a_phone_and_colours_follow_the_group(
    made: ConsoleSite, browser: Browser
) -> None:
    context = browser.new_context(base_url=made.url, viewport=PHONE)
    page = context.new_page()
    colours = set()
    for since in ("7d", "1h", "300d"):
        page.goto(f"/report?from={since}")
        boxes = [label.bounding_box() for label in page.locator(".chart text:visible").all()]
        places = [(b["x"], b["x"] + b["width"], b["y"], b["height"]) for b in boxes if b]
        assert len(places) >= 4
        assert all(left >= 0 and right <= PHONE["width"] for left, right, *_ in places), places
        assert all(height >= 12 for *_, height in places)
        times = sorted(place for place in places if place[2] == max(y for _, _, y, _ in places))
        assert all(one[1] < other[0] for one, other in pairwise(times)), "labels overlap"
        for legend in page.locator(".legend > span").all():
            swatch = legend.locator("rect")
            colours.add((legend.inner_text(), swatch.evaluate("e => getComputedStyle(e).fill")))
    assert len(colours) == len({name for name, _ in colours}) > 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_pass_the_accessibility_check_and_fit_a_phone(
    made: ConsoleSite, browser: Browser, scheme: str
) -> None:
    axe = axe_source()
    paths = ["/", "/attention", "/events", "/dead-letters", "/report", "/login", "/nodes/node1"]
    paths += ["/jobs/4711", "/nowhere"]
    context = browser.new_context(
        base_url=made.url,
        viewport=PHONE,
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Operator's token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/")
    link = page.locator("#events a").first.get_attribute("href")
    assert link
    for path in (*paths, link, f"/dead-letters/{LONG.id}", "/dead-letters#confirm"):
        page.goto(path)
        if path.endswith("#confirm"):
            page.get_by_role("button", name="Discard all 2").click()
            page.get_by_role("heading", name="Discard 2 dead letters?").wait_for()
        assert violations(page, axe) == [], path
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], f"{path} is {width} wide"
    context.close()
