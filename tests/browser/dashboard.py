"""The dashboard, as somebody who runs the service."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import Visitor

PRIORITIES = ("interactive", "normal", "bulk")


class Dashboard(Visitor):
    """What an operator looks at and does there."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.workers = page.locator("#workers tbody tr")
        self.jobs = page.locator("#jobs tbody tr")
        self.dead = page.locator("#dead tbody tr")
        self.warnings = page.locator("#warnings p")
        self.drawer = page.get_by_role("dialog", name="Job")

    def is_live(self) -> None:
        expect(self.page.locator("#live")).to_have_text("Live")
        expect(self.queue("bulk")).to_be_visible()

    def figure(self, title: str) -> Locator:
        """The number above a chart."""
        return self.page.locator("figure", has_text=title).locator(".number")

    def queue(self, priority: str) -> Locator:
        return self.page.locator("#queue tbody tr", has_text=priority)

    def queued(self) -> dict[str, str]:
        """Jobs by priority, as the table has them."""
        return {each: self.queue(each).locator("td").first.inner_text() for each in PRIORITIES}

    def open_job(self, job_id: str) -> None:
        self.page.get_by_role("button", name=f"Job {job_id[:8]}").click()
        expect(self.drawer.locator("#job-id")).to_have_text(job_id)

    def confirm(self, *, yes: bool) -> str:
        """Answer the question that is asked; its words."""
        dialog = self.page.locator("#confirm")
        expect(dialog).to_be_visible()
        words = dialog.inner_text()
        dialog.locator("#confirm-yes" if yes else "#confirm-no").click()
        expect(dialog).to_be_hidden()
        return words
