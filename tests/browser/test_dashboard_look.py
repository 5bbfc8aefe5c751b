"""How the dashboard looks: at a desk and on a phone, in both themes, to people and to axe-core."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.dashboard import PRIORITIES, Dashboard
from tests.browser.test_look import IMAGES, PHONE
from tests.e2e.running import Running, until

BEGINNINGS = ("The house by the sea", "It was a cold morning in London, and", "My name is")
#: Of the last hour that a picture shows, ten seconds each.
POINTS = 24


def test_every_state_is_accessible_and_fits(
    open_dashboard: Callable[..., Dashboard], http: httpx.Client
) -> None:
    job = {"inputs": BEGINNINGS[0], "priority": "bulk", "parameters": {"max_new_tokens": 40}}
    http.post("/v1/jobs:batch", json={"jobs": [job] * 3}).raise_for_status()
    dashboard = open_dashboard(color_scheme="light", reduced_motion="reduce")
    page = dashboard.page
    expect(dashboard.jobs.nth(2)).to_be_visible()
    desk = page.viewport_size
    assert desk is not None

    def looked_at() -> None:
        dashboard.is_accessible()
        page.set_viewport_size(PHONE["viewport"])
        dashboard.fits()
        page.set_viewport_size(desk)
        dashboard.fits()

    looked_at()
    dashboard.jobs.first.get_by_role("button").click()
    dashboard.drawer.get_by_role("button", name="Show the prompt").click()
    expect(dashboard.drawer.get_by_role("region", name="The request")).to_be_visible()
    looked_at()
    page.keyboard.press("Escape")
    page.emulate_media(color_scheme="dark")
    looked_at()


def test_on_a_phone_rows_are_cards(dashboard: Dashboard) -> None:
    dashboard.page.set_viewport_size(PHONE["viewport"])
    worker = dashboard.workers.first
    expect(worker.get_by_role("button", name="Drain")).to_be_visible()
    boxes = [cell.bounding_box() for cell in worker.locator("td, th").all()]
    assert len({box["y"] for box in boxes if box}) > 2  # below one another
    assert all(box["x"] + box["width"] <= PHONE["viewport"]["width"] for box in boxes if box)


def feed(url: str, stop: Event) -> None:
    """Jobs of all kinds, more at some times than at others."""
    draw = random.Random(7)  # nosec B311
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        while not stop.wait(1.0):
            count = draw.choice((0, 0, 1, 1, 1, 2, 12))
            jobs = [
                {
                    "inputs": draw.choice(BEGINNINGS),
                    "priority": draw.choice(PRIORITIES),
                    "timeout_s": 600,
                    "parameters": {
                        "max_new_tokens": draw.randint(16, 120),
                        "num_return_sequences": draw.randint(1, 3),
                    },
                }
                for _ in range(count)
            ]
            if jobs:
                http.post("/v1/jobs:batch", json={"jobs": jobs}).raise_for_status()


@pytest.fixture(scope="module")
def load(service: Running) -> Iterator[None]:
    """Minutes of it behind, and still going on."""
    stop = Event()
    thread = Thread(target=feed, args=(service.url, stop))
    thread.start()

    def measured() -> bool:
        stats = httpx.get(f"{service.url}/v1/stats", trust_env=False).json()
        return len(stats["points"]) >= POINTS

    try:
        until(measured, 20 * POINTS)
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not os.environ.get("SCREENSHOTS"), reason="make screenshots writes them")
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
def test_screenshots(
    open_dashboard: Callable[..., Dashboard], theme: str, size: dict[str, Any]
) -> None:
    desk = {"viewport": {"width": 1280, "height": 1180}}
    dashboard = open_dashboard(color_scheme=theme, **(size or desk))
    dashboard.is_live()
    expect(dashboard.jobs.nth(8)).to_be_visible()
    name = "dashboard" + ("-phone" if size else "") + ("-dark" if theme == "dark" else "")
    IMAGES.mkdir(exist_ok=True)
    dashboard.page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")
