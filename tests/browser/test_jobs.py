"""What the page makes of the job behind it: cancels, queues, errors, connections that break."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.browser.writer import Writer
from tests.e2e.running import until

BEGINNING = "The house by the sea"
#: Minutes, if nobody ends it.
LONG = 400
#: What Chromium itself writes to the console of an error that a test provokes.
REFUSED = ("Failed to load resource",)


@pytest.fixture
def paused(http: httpx.Client) -> Iterator[None]:
    """Workers take no job meanwhile."""
    http.post("/v1/queue:pause", json={}).raise_for_status()
    yield
    http.post("/v1/queue:resume", json={}).raise_for_status()


def is_canceled(http: httpx.Client, job_id: str) -> None:
    until(lambda: bool(http.get(f"/v1/jobs/{job_id}").json()["status"] == "canceled"), 20)


def newest(http: httpx.Client, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get("/v1/jobs", params={"limit": count}).json()["jobs"]
    return found


def begin(writer: Writer) -> None:
    """A long one, of which something is there already."""
    writer.set(max_new_tokens=LONG)
    writer.write(BEGINNING)
    writer.ask()
    expect(writer.cards.nth(2).locator(".words span").nth(1)).to_be_attached()


def test_esc_stops_the_job_itself_and_keeps_what_has_come(
    writer: Writer, http: httpx.Client
) -> None:
    begin(writer)
    expect(writer.chip).to_have_text("Writing …")
    writer.editor.press("Escape")
    is_canceled(http, writer.job_id())
    assert all(writer.texts())
    expect(writer.chip).to_be_hidden()
    writer.editor.press("Enter")
    assert writer.text.startswith(BEGINNING)
    assert writer.text != BEGINNING


def test_esc_again_puts_the_suggestions_away(writer: Writer) -> None:
    begin(writer)
    writer.editor.press("Escape")
    writer.editor.press("Escape")
    expect(writer.cards).to_have_count(0)
    assert writer.text == BEGINNING


@pytest.mark.parametrize("deed", ["stop", "write", "take", "leave", "again"])
def test_whatever_makes_the_rest_useless_cancels_it(
    writer: Writer, http: httpx.Client, deed: str
) -> None:
    begin(writer)
    job_id = writer.job_id()
    if deed == "stop":
        writer.page.get_by_role("button", name="Stop").click()
    elif deed == "write":
        writer.write(" stood")
        expect(writer.cards).to_have_count(0)
    elif deed == "take":
        writer.editor.press("Enter")
    elif deed == "leave":
        writer.page.goto("about:blank")
    else:
        writer.ask()
    is_canceled(http, job_id)


@pytest.mark.usefixtures("paused")
def test_while_it_waits_it_says_where_and_esc_takes_it_out(
    writer: Writer, http: httpx.Client
) -> None:
    writer.write(BEGINNING)
    writer.ask()
    expect(writer.chip).to_have_text("Queued, number 1: the queue is paused")
    assert http.get(f"/v1/jobs/{writer.job_id()}").json()["status"] == "queued"
    writer.editor.press("Escape")
    is_canceled(http, writer.job_id())
    expect(writer.cards).to_have_count(0)
    expect(writer.chip).to_be_hidden()


def test_esc_before_the_answer_to_the_submission_cancels_too(
    writer: Writer, http: httpx.Client
) -> None:
    held: list[Route] = []
    writer.page.route("**/v1/jobs", lambda route: held.append(route))
    writer.set(max_new_tokens=LONG)
    writer.write(BEGINNING)
    with writer.page.expect_request("**/v1/jobs"):
        writer.editor.press("Tab")
    writer.editor.press("Escape")
    while not held:  # the request is known a moment before it is held
        writer.page.wait_for_timeout(10)
    with writer.page.expect_response("**/cancel"):
        held[0].continue_()
    is_canceled(http, writer.job_id())


def test_a_submission_whose_answer_is_lost_is_sent_again_and_makes_one_job(
    open_page: Callable[..., Writer], http: httpx.Client
) -> None:
    writer = open_page(allowed=REFUSED)
    http.post("/v1/jobs", json={"inputs": "One before"}).raise_for_status()
    before = newest(http, 1)[0]["id"]
    sent: list[str] = []

    def lose_the_first_answer(route: Route) -> None:
        sent.append(route.request.headers["idempotency-key"])
        if len(sent) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    writer.page.route("**/v1/jobs", lose_the_first_answer)
    writer.set(max_new_tokens=4)
    writer.write("Sent twice")
    writer.three()
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert [job["id"] for job in newest(http, 2)] == [writer.job_id(), before]


def test_a_stream_that_breaks_goes_on_behind_its_last_token(
    open_page: Callable[..., Writer],
) -> None:
    writer = open_page(allowed=REFUSED)
    writer.set(max_new_tokens=12, seed=9)
    writer.write(BEGINNING)
    whole = writer.three()
    known: list[str | None] = []

    def break_it(route: Route) -> None:
        known.append(route.request.headers.get("last-event-id"))
        if len(known) == 1:
            text = route.fetch().text()
            route.fulfill(body=text[: len(text) // 3], content_type="text/event-stream")
        elif len(known) == 2:
            route.abort()
        else:
            route.continue_()

    writer.page.route("**/events", break_it)
    assert writer.three() == whole
    assert known[0] is None
    assert known[1] == known[2] != None  # noqa: E711 (a chain)


def events(*told: tuple[str, dict[str, Any]]) -> str:
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in told)


def tokens(text: str) -> list[tuple[str, dict[str, Any]]]:
    """One token for each of the three."""
    ends: dict[str, Any] = {"text": text, "finish_reason": "length", "logprob": {"logprob": -1.0}}
    return [("token", {"sequence": n, **ends}) for n in range(3)]


def test_what_a_dead_worker_wrote_is_void(writer: Writer) -> None:
    started: dict[str, Any] = {"status": "running", "attempt": 1}
    again = {**started, "attempt": 2, "restarted": True}
    body = events(
        *(("status", started), *tokens(" void"), ("status", again), *tokens(" valid")),
        ("done", {"status": "succeeded"}),
    ).replace("event: done\n", "event: done\nid: end\n")
    writer.page.route(
        "**/events", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    writer.write(BEGINNING)
    assert writer.three() == ["valid"] * 3
    writer.editor.press("Enter")
    assert writer.text == f"{BEGINNING} valid"


def problem(status: int, **members: Any) -> dict[str, Any]:
    return {
        "status": status,
        "content_type": "application/problem+json",
        "body": json.dumps({"type": "urn:distilq:problem:x", "status": status, **members}),
    }


def test_a_field_that_the_service_refuses_is_named_and_shown(
    open_page: Callable[..., Writer],
) -> None:
    writer = open_page(allowed=REFUSED)
    wrong = {"pointer": "#/parameters/top_p", "code": "out_of_range", "detail": "must be <= 1"}
    answer = problem(422, title="The request has invalid fields", errors=[wrong])
    writer.page.route("**/v1/jobs", lambda route: route.fulfill(**answer))
    writer.write(BEGINNING)
    writer.ask()
    notice = writer.page.get_by_role("alert")
    expect(notice).to_contain_text("The request has invalid fields: Top-p must be <= 1.")
    field = writer.page.get_by_label("Top-p")
    expect(field).to_be_focused()
    assert field.evaluate("e => e.validationMessage") == "must be <= 1"
    assert writer.text == BEGINNING

    writer.page.unroute("**/v1/jobs")
    field.fill("0.5")
    writer.page.keyboard.press("Escape")
    writer.three()
    expect(notice).to_be_hidden()


def test_a_number_out_of_range_is_refused_before_it_is_sent(writer: Writer) -> None:
    writer.set(temperature=9)
    writer.write(BEGINNING)
    writer.editor.press("Tab")
    expect(writer.page.get_by_label("Temperature")).to_be_focused()
    assert writer.jobs == []


def test_a_full_queue_is_waited_for_as_long_as_it_asks(open_page: Callable[..., Writer]) -> None:
    writer = open_page(allowed=REFUSED)
    full = problem(503, title="The queue is full", detail="200000 jobs wait", retryable=True)
    full["headers"] = {"Retry-After": "2", "Content-Type": full.pop("content_type")}
    writer.page.route("**/v1/jobs", lambda route: route.fulfill(**full))
    writer.set(max_new_tokens=4)
    writer.write(BEGINNING)
    writer.ask()
    notice = writer.page.get_by_role("alert")
    expect(notice).to_contain_text("The queue is full: 200000 jobs wait.")
    expect(notice.get_by_role("button", name="Try again in")).to_be_disabled()
    writer.is_accessible()
    writer.page.unroute("**/v1/jobs")
    notice.get_by_role("button", name="Try again", exact=True).click()
    writer.finish()
    expect(notice).to_be_hidden()


def test_a_job_that_fails_says_why(open_page: Callable[..., Writer]) -> None:
    writer = open_page()
    failed = {"title": "The job's workers died too often", "status": 500, "retryable": False}
    body = events(("error", {**failed, "job_status": "failed"}))
    writer.page.route(
        "**/events", lambda route: route.fulfill(body=body, content_type="text/event-stream")
    )
    writer.write(BEGINNING)
    writer.ask()
    notice = writer.page.get_by_role("alert")
    expect(notice).to_contain_text("The job's workers died too often.")
    notice.get_by_role("button", name="Close").click()
    expect(notice).to_be_hidden()


@pytest.mark.parametrize(
    ("answer", "name", "words"),
    [
        ({"json": {"serving": [], "model": "distilgpt2"}}, "no worker", "No worker is running."),
        ({"status": 503}, "no connection", "The service cannot be reached."),
    ],
)
def test_what_keeps_it_from_answering_is_said_before_anybody_asks(
    open_page: Callable[..., Writer], answer: dict[str, Any], name: str, words: str
) -> None:
    writer = open_page(allowed=REFUSED)
    expect(writer.page.locator("#serving")).to_have_text("bundled model")
    writer.page.route("**/v1/info", lambda route: route.fulfill(**answer))
    writer.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(writer.page.locator("#serving")).to_have_text(name)
    expect(writer.page.locator("#loud")).to_contain_text(words)


def test_a_text_longer_than_the_model_reads_is_continued(
    writer: Writer, http: httpx.Client
) -> None:
    writer.set(max_new_tokens=4)
    writer.write("A word after another, and so on for a long while. " * 1_600)
    assert all(writer.three())
    assert http.get(f"/v1/jobs/{writer.job_id()}").json()["usage"]["prompt_tokens"] <= 1_024
