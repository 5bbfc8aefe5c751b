"""A browser, and pages that fail a test on whatever a person should never meet."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from distilq.cli.ports import free_port
from tests.browser.dashboard import Dashboard
from tests.browser.visitor import Watched
from tests.browser.writer import Writer
from tests.e2e.running import Running, clean_environment, until

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
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page as a new visitor; keyword arguments are those of a browser context."""
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def visit(origin: str, path: str, allowed: tuple[str, ...], **options: Any) -> Page:
        context = browser.new_context(**{"viewport": DESK, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watched.append(Watched(page, origin, allowed))
        page.goto(f"{origin}{path}")
        return page

    yield visit
    for context in contexts:
        context.close()
    for each in watched:
        assert each.complaints == []


@pytest.fixture
def open_page(visit: Callable[..., Page], service: Running) -> Callable[..., Writer]:
    """Opens the page to write with."""

    def open_page(url: str = service.url, allowed: tuple[str, ...] = (), **options: Any) -> Writer:
        return Writer(visit(url, "", allowed, **options))

    return open_page


@pytest.fixture
def open_dashboard(visit: Callable[..., Page], service: Running) -> Callable[..., Dashboard]:
    """Opens the dashboard."""

    def open_dashboard(
        url: str = service.url, allowed: tuple[str, ...] = (), **options: Any
    ) -> Dashboard:
        return Dashboard(visit(url, "/dashboard", allowed, **options))

    return open_dashboard


@pytest.fixture
def dashboard(open_dashboard: Callable[..., Dashboard]) -> Dashboard:
    """The dashboard at a desk, once it shows how the service stands."""
    dashboard = open_dashboard(color_scheme="light")
    dashboard.is_live()
    return dashboard


@pytest.fixture
def writer(open_page: Callable[..., Writer]) -> Writer:
    """The page at a desk, in the light theme, once it knows what serves."""
    writer = open_page(color_scheme="light")
    writer.page.wait_for_selector("#serving")
    return writer


@pytest.fixture
def locked(service: Running, tmp_path: Path) -> Iterator[str]:
    """The address of another API before the same worker, which asks for keys."""
    url = f"http://127.0.0.1:{free_port()}"
    redis_url = (service.log.parent / "data" / "redis-url").read_text().strip()
    settings = {"DISTILQ_AUTH": "on", "DISTILQ_MODEL": "bundled", "DISTILQ_REDIS_URL": redis_url}
    command = ["gunicorn", "-c", "python:distilq.api.gunicorn_conf", "distilq.api.wsgi:app"]
    with subprocess.Popen(
        [sys.executable, "-m", *command, "-b", url.removeprefix("http://")],
        env={**clean_environment(tmp_path), **settings},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as api:

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/livez", trust_env=False).is_success
            except httpx.HTTPError:
                return False

        until(answers)
        yield url
        api.terminate()


@pytest.fixture
def make_key(service: Running, tmp_path: Path) -> Callable[..., str]:
    """Makes a key and gives its token; arguments are those of `distilq keys create`."""

    def make_key(*arguments: str) -> str:
        command = [sys.executable, "-m", "distilq.cli", "keys", "create", *arguments]
        made = subprocess.run(
            [*command, "--data-dir", str(service.log.parent / "data")],
            env=clean_environment(tmp_path),
            capture_output=True,
            check=True,
            text=True,
        )
        return made.stdout.strip()

    return make_key
