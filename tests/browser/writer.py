"""The page, as somebody who writes with it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.visitor import Visitor


class Writer(Visitor):
    """What a person does there."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.editor = page.get_by_role("textbox", name="Your text")
        self.cards = page.locator(".card")
        self.chip = page.locator("#chip")
        self.jobs: list[dict[str, Any]] = []
        page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if response.url.endswith("/v1/jobs") and response.status in (200, 202):
            self.jobs.append(response.json())

    @property
    def text(self) -> str:
        return self.editor.input_value()

    def write(self, text: str) -> None:
        """Type it, as keys do: into the browser's history."""
        self.editor.focus()
        self.page.keyboard.insert_text(text)

    def set(self, **settings: str | int | float | bool) -> None:
        """Settings by the names of their fields."""
        self.page.get_by_role("button", name="Settings").click()
        for name, value in settings.items():
            field = self.page.locator(f"#settings [name={name}]")
            if isinstance(value, bool):
                field.set_checked(value)
            else:
                field.fill(str(value))
        self.page.keyboard.press("Escape")

    def ask(self) -> None:
        with self.page.expect_response("**/v1/jobs"):
            self.editor.press("Tab")

    def three(self) -> list[str]:
        """Ask, and wait for all three to end; their texts as they are shown."""
        self.ask()
        self.finish()
        return self.texts()

    def finish(self) -> None:
        expect(self.page.locator(".card[data-end]")).to_have_count(3)
        expect(self.page.locator("#stop")).to_be_hidden()

    def texts(self) -> list[str]:
        return [words.strip() for words in self.cards.locator(".words").all_inner_texts()]

    def chosen(self) -> Locator:
        return self.page.locator(".card[aria-current]")

    def is_chosen(self, index: int) -> None:
        expect(self.cards.nth(index)).to_have_attribute("aria-current", "true")
        expect(self.chosen()).to_have_count(1)

    def job_id(self) -> str:
        """Of the last request."""
        return str(self.jobs[-1]["id"])
