"""Whoever looks at a page of the service."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, Request

from tests.e2e.running import until

FITS = "document.documentElement.scrollWidth <= innerWidth"


class Watched:
    """What a page complained of, and where it sent requests that are none of the service's."""

    def __init__(self, page: Page, origin: str, allowed: tuple[str, ...]) -> None:
        self.complaints: list[str] = []
        self.origin = origin
        self.allowed = allowed
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if not any(words in message.text for words in self.allowed):
            self.complaints.append(f"{message.type}: {message.text}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.complaints.append(request.url)


class Visitor:
    def __init__(self, page: Page) -> None:
        self.page = page

    def is_accessible(self) -> None:
        """To axe-core, as it stands."""
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def fits(self) -> None:
        """Nothing has to be scrolled to the side, once it has been laid out."""
        until(lambda: bool(self.page.evaluate(FITS)), 5)
