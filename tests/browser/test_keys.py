"""Where an API key is asked for."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.writer import Writer

REFUSED = ("Failed to load resource",)  # what Chromium writes of a 401


def test_a_key_is_asked_for_kept_in_the_tab_alone_and_forgotten(
    open_page: Callable[..., Writer], locked: str, make_key: Callable[..., str]
) -> None:
    token = make_key("Anna")
    writer = open_page(locked, allowed=REFUSED)
    dialog = writer.page.get_by_role("dialog", name="API key")
    expect(dialog).to_be_visible()
    for wrong in ("dq_wrong", "dq_\N{KEY}"):  # the second cannot be sent
        dialog.get_by_label("Key").fill(wrong)
        dialog.get_by_role("button", name="Use it").click()
        expect(dialog.get_by_role("alert")).to_contain_text("unknown, or has been revoked")
    writer.is_accessible()
    dialog.get_by_label("Key").fill(token)
    dialog.get_by_role("button", name="Use it").click()
    expect(dialog).to_be_hidden()
    expect(writer.page.locator("#serving")).to_have_text("bundled model")

    writer.set(max_new_tokens=4)
    writer.write("My name is")
    assert all(writer.three())
    assert token not in str(writer.page.evaluate("JSON.stringify(localStorage)"))
    assert token not in writer.page.locator("#snippet").inner_text()
    assert "$DISTILQ_API_KEY" in str(writer.page.locator("#snippet").text_content())

    writer.page.reload()
    expect(writer.page.locator("#serving")).to_have_text("bundled model")
    writer.page.get_by_role("button", name="About the model").click()
    writer.page.get_by_role("button", name="Forget it").click()
    expect(dialog).to_be_visible()
    assert token not in str(writer.page.evaluate("JSON.stringify(sessionStorage)"))
