"""Writing: ask, choose, take, undo, go back, replay."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.writer import Writer

BEGINNING = "It was a cold morning in London, and the old man"


def one_line(text: str) -> str:
    return " ".join(text.split())


def dense(*texts: str) -> str:
    """Without blanks: a continuation begins with one, or does not."""
    return "".join("".join(texts).split())


def test_three_continuations_come_from_one_job_and_the_chosen_one_is_taken(writer: Writer) -> None:
    writer.set(max_new_tokens=12)
    writer.write(BEGINNING)
    one, two, three = writer.three()
    assert len({one, two, three}) == 3
    assert len(writer.jobs) == 1
    asked = writer.jobs[0]["parameters"]
    assert (asked["num_return_sequences"], asked["max_new_tokens"]) == (3, 12)

    writer.is_chosen(0)
    writer.editor.press("ArrowRight")
    writer.is_chosen(1)
    writer.editor.press("ArrowLeft")
    writer.editor.press("ArrowUp")
    writer.is_chosen(2)
    writer.cards.nth(1).locator(".words").click()
    writer.is_chosen(1)
    expect(writer.editor).to_be_focused()
    writer.editor.press("Enter")
    assert dense(writer.text) == dense(BEGINNING, two)
    expect(writer.cards).to_have_count(0)


def test_what_was_taken_is_one_step_of_the_browsers_own_undo(writer: Writer) -> None:
    writer.set(max_new_tokens=8)
    writer.write(BEGINNING)
    writer.three()
    writer.editor.press("Enter")
    taken = writer.text
    writer.write(" And so on")
    for before in (taken, BEGINNING, ""):
        writer.editor.press("Control+z")
        assert writer.text == before
    writer.page.get_by_role("button", name="Redo").click()
    writer.page.get_by_role("button", name="Redo").click()
    assert writer.text == taken
    writer.page.get_by_role("button", name="Undo").click()
    assert writer.text == BEGINNING


def test_tab_again_is_the_same_place_and_another_seed(writer: Writer) -> None:
    writer.set(max_new_tokens=12)
    writer.write(BEGINNING)
    assert writer.three() != writer.three()
    first, second = [job["parameters"] for job in writer.jobs]
    assert first.pop("seed") != second.pop("seed")
    assert first == second
    assert writer.text == BEGINNING


def test_a_seed_that_is_kept_gives_the_very_same_three(writer: Writer) -> None:
    writer.set(max_new_tokens=12)
    writer.write(BEGINNING)
    texts = writer.three()
    writer.set(lock=True)
    assert writer.three() == texts
    writer.page.reload()  # a setting that is kept outlives the page
    writer.page.wait_for_selector("#serving")
    assert writer.three() == texts
    writer.set(seed=5)
    other = writer.three()
    assert other != texts
    assert writer.jobs[-1]["parameters"]["seed"] == 5
    assert writer.three() == other


def test_a_preset_is_its_three_numbers_and_what_is_none_of_them_is_ones_own(writer: Writer) -> None:
    button = writer.page.get_by_role("button", name="Settings")
    expect(button).to_contain_text("Balanced")
    button.click()
    writer.page.get_by_role("radio", name="Wild").check(force=True)
    expect(writer.page.get_by_label("Temperature")).to_have_value("1.3")
    expect(writer.page.get_by_label("Top-k")).to_have_value("0")
    expect(button).to_contain_text("Wild")
    writer.page.get_by_label("Temperature").fill("1.1")
    expect(writer.page.get_by_role("radio", name="Own")).to_be_checked()
    writer.page.keyboard.press("Escape")
    writer.write(BEGINNING)
    writer.ask()
    assert writer.jobs[0]["parameters"]["temperature"] == 1.1
    assert writer.jobs[0]["parameters"]["top_k"] == 0


def test_a_branch_is_a_place_to_return_to(writer: Writer) -> None:
    writer.set(max_new_tokens=6)
    writer.write(BEGINNING)
    first = writer.three()
    writer.editor.press("Enter")
    taken = writer.text
    second = writer.three()
    writer.editor.press("Enter")
    end = writer.text

    writer.page.get_by_role("button", name="Branches").click()
    tree = writer.page.locator("#tree")
    expect(tree.locator(":scope > li > .way")).to_have_count(3)
    expect(tree.locator("ol .way")).to_have_count(3)  # beneath what led to it
    expect(tree.locator(".taken")).to_have_count(2)
    tree.get_by_role("button", name=one_line(first[2])).click()
    assert writer.text == BEGINNING
    writer.is_chosen(2)
    assert [one_line(text) for text in writer.texts()] == [one_line(text) for text in first]
    writer.editor.press("Enter")
    assert dense(writer.text) == dense(BEGINNING, first[2])
    assert taken != writer.text

    writer.editor.press("Control+z")
    writer.editor.press("Control+z")
    assert writer.text == end
    assert len(second) == 3


def test_text_and_branches_outlive_the_page_and_can_be_forgotten(writer: Writer) -> None:
    writer.set(max_new_tokens=4)
    writer.write(BEGINNING)
    writer.three()
    writer.editor.press("Enter")
    text = writer.text
    writer.page.reload()
    assert writer.text == text
    writer.page.get_by_role("button", name="Branches").click()
    expect(writer.page.locator("#tree .way")).to_have_count(3)
    writer.page.get_by_role("button", name="Forget all").click()
    expect(writer.page.locator("#tree")).to_have_text("None yet.")
    writer.page.reload()
    writer.page.get_by_role("button", name="Branches").click()
    expect(writer.page.locator("#tree")).to_have_text("None yet.")


def test_each_tab_has_its_own_text_and_a_new_one_begins_with_the_last(writer: Writer) -> None:
    writer.write("One")
    other = writer.page.context.new_page()
    writer.page.reload()
    other.goto(writer.page.url)
    expect(other.locator("#text")).to_have_value("One")
    other.locator("#text").fill("Two")
    other.reload()
    writer.page.reload()
    expect(other.locator("#text")).to_have_value("Two")
    expect(writer.editor).to_have_value("One")


def test_a_blank_at_the_end_is_not_there_twice(writer: Writer) -> None:
    writer.set(max_new_tokens=4, seed=3)
    writer.write(BEGINNING)
    texts = writer.three()
    writer.write(" ")
    expect(writer.cards).to_have_count(0)
    assert writer.three() == texts
    writer.editor.press("Enter")
    assert dense(writer.text) == dense(BEGINNING, texts[0])
    assert "  " not in writer.text


def test_it_goes_on_in_the_middle_of_a_text(writer: Writer) -> None:
    writer.set(max_new_tokens=4)
    writer.write("The sea The end")
    for _ in "The end":
        writer.editor.press("ArrowLeft")
    writer.three()
    writer.editor.press("Enter")
    assert re.fullmatch(r"The sea .+The end", writer.text, re.DOTALL)


def test_every_tokens_probability_is_shown_by_pointer_and_by_keyboard(writer: Writer) -> None:
    writer.set(max_new_tokens=6, seed=3)
    writer.write(BEGINNING)
    writer.three()
    words, odds = writer.cards.nth(0).locator(".words"), writer.cards.nth(0).locator(".odds")
    first, second = words.locator("span").nth(0), words.locator("span").nth(1)
    first.hover()
    expect(odds).to_have_text(re.compile(r"^“.+” [\d.]+ %$|below 0.01 %$"))
    assert first.get_attribute("title") == odds.inner_text()
    line = "getComputedStyle(e).textDecorationColor"
    unlikely = writer.page.locator(".card:hover [data-surprise='3']").first
    assert unlikely.evaluate(f"e => {line}") != words.evaluate(f"e => {line}")

    writer.page.mouse.move(0, 0)
    expect(odds).to_be_empty()
    words.focus()
    writer.page.keyboard.press("ArrowRight")
    writer.page.keyboard.press("ArrowRight")
    expect(odds).to_have_text(str(second.get_attribute("title")))
    writer.page.keyboard.press("Escape")
    expect(writer.editor).to_be_focused()


def test_tab_holds_nobody_in_the_text(writer: Writer) -> None:
    writer.write(BEGINNING)
    writer.editor.press("Shift+Tab")
    expect(writer.editor).not_to_be_focused()
    writer.editor.focus()
    writer.editor.press("Escape")
    expect(writer.page.locator("#said")).to_have_text("Tab leaves the text now.")
    writer.editor.press("Tab")
    expect(writer.page.get_by_role("button", name="Continue")).to_be_focused()
    assert writer.jobs == []


def test_the_button_does_what_tab_does(writer: Writer) -> None:
    writer.set(max_new_tokens=4)
    writer.write(BEGINNING)
    writer.page.get_by_role("button", name="Continue").click()
    writer.finish()
    expect(writer.editor).to_be_focused()
    writer.page.get_by_role("button", name="Take suggestion 3").click()
    assert writer.text.startswith(BEGINNING)
    assert writer.text != BEGINNING


def test_nothing_at_all_can_be_continued(open_page: Callable[..., Writer]) -> None:
    writer = open_page()
    writer.set(max_new_tokens=4)
    assert all(writer.three())


def test_it_says_which_model_serves_and_what_to_beware_of(writer: Writer) -> None:
    expect(writer.page.locator("#loud")).to_contain_text("not DistilGPT2")
    writer.page.get_by_role("button", name="About the model").click()
    dialog = writer.page.get_by_role("dialog", name="About the model")
    expect(dialog).to_contain_text("bundled (bundled), float32, 1 worker")
    expect(dialog).to_contain_text("do not use it where the generated text has to be true")
    expect(dialog).to_contain_text("biases")
    card = dialog.get_by_role("link", name="model card")
    assert card.get_attribute("href") == "https://huggingface.co/distilbert/distilgpt2"
    dialog.get_by_role("link", name="How to call this service").click()
    expect(writer.page.get_by_role("heading", name="Try it")).to_be_visible()
