"""The documentation's site: what a reader's browser makes of it, and what it asks of others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.writer import Writer

pytestmark = pytest.mark.timeout(400)  # see test_up.py


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what goes wrong, the browser complains of."""


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_its_pages_fit_a_phone_and_load_nothing_from_elsewhere(
    open_page: Callable[..., Writer], address: str
) -> None:
    page = open_page(address, color_scheme="dark", viewport={"width": 390, "height": 844}).page
    for name in ("how-it-works", "running", "api", "api-objects", "settings", "performance"):
        page.goto(f"{address}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), name


def test_it_is_searched_without_a_service(open_page: Callable[..., Writer], address: str) -> None:
    page = open_page(address).page
    box = page.get_by_role("combobox", name="Search")
    page.get_by_role("button", name="Search").first.click()
    expect(box).to_be_visible()  # what is typed before that is lost
    box.fill("fencing")
    expect(page.get_by_role("option", name="Files of requests")).to_be_visible()
