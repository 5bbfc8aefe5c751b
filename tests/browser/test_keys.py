"""Where an API key is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from distilq.cli.ports import free_port
from tests.browser.writer import Writer
from tests.e2e.running import Running, clean_environment, until

REFUSED = ("Failed to load resource",)  # what Chromium writes of a 401


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
def token(service: Running, tmp_path: Path) -> str:
    command = [sys.executable, "-m", "distilq.cli", "keys", "create", "Anna"]
    made = subprocess.run(
        [*command, "--data-dir", str(service.log.parent / "data")],
        env=clean_environment(tmp_path),
        capture_output=True,
        check=True,
        text=True,
    )
    return made.stdout.strip()


def test_a_key_is_asked_for_kept_in_the_tab_alone_and_forgotten(
    open_page: Callable[..., Writer], locked: str, token: str
) -> None:
    writer = open_page(locked, allowed=REFUSED)
    dialog = writer.page.get_by_role("dialog", name="API key")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Key").fill("dq_wrong")
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
