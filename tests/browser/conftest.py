"""A browser, and pages that fail a test on whatever a person should never meet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.browser.writer import Watched, Writer
from tests.e2e.running import Running

DESK = {"width": 1280, "height": 800}
PATIENCE_MS = 20_000

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")  # a module's: while Playwright is there, asyncio.run() is not
def browser() -> Iterator[Browser]:
    """Chromium; without one a test is skipped here and fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        message = "needs chromium on PATH"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # it refuses to run as root with one
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=root)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: Running) -> Iterator[Callable[..., Writer]]:
    """Opens the page as a new visitor; keyword arguments are those of a browser context."""
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def open_page(url: str = service.url, allowed: tuple[str, ...] = (), **options: Any) -> Writer:
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watched.append(Watched(page, url, allowed))
        page.goto(url)
        return Writer(page)

    yield open_page
    for context in contexts:
        context.close()
    for each in watched:
        assert each.complaints == []


@pytest.fixture
def writer(open_page: Callable[..., Writer]) -> Writer:
    """The page at a desk, in the light theme, once it knows what serves."""
    writer = open_page(color_scheme="light")
    writer.page.wait_for_selector("#serving")
    return writer
