"""How it looks: at a desk and on a phone, in both themes, to people and to axe-core."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.writer import Writer

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
BEGINNING = (
    "It was a cold morning in London, and the old man stood at the window with his hat in his "
    "hand. He had waited for the letter since the summer, and now that it had come he"
)


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_state_is_accessible_and_fits(
    open_page: Callable[..., Writer], theme: str, size: dict[str, Any]
) -> None:
    writer = open_page(color_scheme=theme, reduced_motion="reduce", **size)
    page = writer.page
    expect(page.locator("#loud")).to_be_visible()

    def looked_at() -> None:
        writer.fits()
        if not size:  # a second each; nothing is another element on a phone
            writer.is_accessible()

    looked_at()
    writer.set(max_new_tokens=12)
    writer.write("The house")
    page.get_by_role("button", name="Continue").click()
    writer.finish()
    looked_at()
    for panel in ("Settings", "Copy as"):
        page.get_by_role("button", name=panel).click()
        looked_at()
        page.keyboard.press("Escape")
    for dialog in ("About the model", "Branches"):
        page.get_by_role("button", name=dialog).click()
        looked_at()
        page.keyboard.press("Escape")
    page.goto(f"{page.url}about")
    looked_at()


def test_on_a_phone_buttons_do_what_keys_do(open_page: Callable[..., Writer]) -> None:
    writer = open_page(**PHONE)
    page = writer.page
    writer.set(max_new_tokens=6)
    writer.write("The house")
    writer.editor.blur()
    page.get_by_role("button", name="Continue").tap()
    writer.finish()
    expect(writer.editor).not_to_be_focused()  # or the keyboard would cover them
    boxes = [card.bounding_box() for card in writer.cards.all()]
    tops = [box["y"] for box in boxes if box]
    assert tops == sorted(set(tops))  # below one another
    assert len({box["x"] for box in boxes if box}) == 1
    writer.cards.nth(1).tap()
    writer.is_chosen(1)
    page.get_by_role("button", name="Take suggestion 2").tap()
    assert writer.text != "The house"
    page.get_by_role("button", name="Undo").tap()
    assert writer.text == "The house"


def test_at_a_desk_the_three_stand_side_by_side(writer: Writer) -> None:
    writer.set(max_new_tokens=6)
    writer.write("The house")
    writer.three()
    boxes = [card.bounding_box() for card in writer.cards.all()]
    assert len({box["y"] for box in boxes if box}) == 1
    assert len({box["x"] for box in boxes if box}) == 3


def test_the_theme_is_the_systems_until_another_is_chosen(
    open_page: Callable[..., Writer],
) -> None:
    page = open_page(color_scheme="dark").page
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.get_by_role("button", name="Theme").click()
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    assert page.evaluate(back) == light
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate(back) == dark
    page.get_by_role("button", name="Theme: dark").click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(back) == light


def test_nothing_moves_for_who_wants_it_so(open_page: Callable[..., Writer]) -> None:
    writer = open_page(reduced_motion="reduce")
    writer.set(max_new_tokens=400)
    writer.write("The house")
    writer.ask()
    assert writer.page.evaluate("document.getAnimations().length") == 0
    writer.editor.press("Escape")


@pytest.mark.skipif(not os.environ.get("SCREENSHOTS"), reason="make screenshots writes them")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{}, PHONE], ids=["desk", "phone"])
def test_screenshots(open_page: Callable[..., Writer], theme: str, size: dict[str, Any]) -> None:
    writer = open_page(color_scheme=theme, **size)
    writer.set(seed=4)
    writer.write(BEGINNING)
    writer.three()
    writer.editor.press("ArrowRight")
    writer.cards.nth(1).locator(".words span").nth(2).hover()
    name = "write" + ("-phone" if size else "") + ("-dark" if theme == "dark" else "")
    IMAGES.mkdir(exist_ok=True)
    writer.page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")
