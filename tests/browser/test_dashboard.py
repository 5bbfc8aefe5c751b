"""The dashboard of a service that works, loses its worker, and has things to be put right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis
from playwright.sync_api import expect

from distilq.settings import Settings
from distilq.store import JobStore
from tests.browser.dashboard import PRIORITIES, Dashboard
from tests.e2e.running import Running, until
from tests.integration.poison import poison

#: What Chromium itself writes to the console of an error that a test provokes.
REFUSED = ("Failed to load resource",)
PROMPT = "The house by the sea"


@pytest.fixture
def store(service: Running) -> Iterator[JobStore]:
    """The queue of the service, as its own programs see it."""
    url = (service.log.parent / "data" / "redis-url").read_text().strip()
    with redis.Redis.from_url(url) as client:
        store = JobStore(client, Settings(redis_url=url, model="bundled"))
        yield store
        store.close()


@pytest.fixture
def idle(http: httpx.Client) -> Iterator[None]:
    """No job waits or runs, before or afterwards."""
    stop_all(http)
    yield
    stop_all(http)


@pytest.fixture
def drained(http: httpx.Client, idle: None) -> Iterator[None]:
    """And the worker takes none meanwhile."""
    until(lambda: len(http.get("/v1/workers").json()["workers"]) == 1)
    (worker,) = http.get("/v1/workers").json()["workers"]
    http.post(f"/v1/workers/{worker['id']}:drain").raise_for_status()
    yield
    http.post(f"/v1/workers/{worker['id']}:resume").raise_for_status()


def stop_all(http: httpx.Client) -> None:
    http.post("/v1/queue:purge", json={}).raise_for_status()
    for job in http.get("/v1/jobs", params={"status": "running"}).json()["jobs"]:
        http.post(f"/v1/jobs/{job['id']}/cancel")
    until(lambda: http.get("/v1/queue").json()["running"] == 0)


def submit(http: httpx.Client, count: int, priority: str, **parameters: Any) -> list[str]:
    job = {"inputs": PROMPT, "priority": priority, "parameters": parameters}
    answer = http.post("/v1/jobs:batch", json={"jobs": [job] * count}).raise_for_status()
    return [job["id"] for job in answer.json()["jobs"]]


def agrees(dashboard: Dashboard, http: httpx.Client) -> None:
    """What the page says is queued is what the service says."""

    def same() -> bool:
        levels = http.get("/v1/queue").json()["priorities"]
        return dashboard.queued() == {name: str(levels[name]["jobs"]) for name in PRIORITIES}

    until(same, 20)


@pytest.mark.usefixtures("idle")
def test_a_worker_that_dies_is_missed_as_long_as_jobs_wait_and_none_lives(
    dashboard: Dashboard, http: httpx.Client, service: Running
) -> None:
    (known,) = http.get("/v1/workers").json()["workers"]
    worker = service.descendant("celery", "distilq.worker.app")
    jobs = submit(http, 4, "normal", max_new_tokens=400)
    expect(dashboard.figure("In the batch")).not_to_have_text("0")
    expect(dashboard.warnings).to_have_count(0)

    worker.suspend()  # else another one is there before this one counts as dead
    try:
        submit(http, 12, "bulk", max_new_tokens=4)
        agrees(dashboard, http)
        expect(dashboard.figure("Queued")).not_to_have_text("0")
        expect(dashboard.workers).to_have_count(0, timeout=40_000)
        expect(dashboard.warnings).to_have_text([re.compile("Jobs wait, and no worker is alive")])
    finally:
        worker.kill()
    expect(dashboard.workers).to_have_count(1, timeout=60_000)
    expect(dashboard.warnings).to_have_count(0)
    assert http.get("/v1/workers").json()["workers"][0]["id"] != known["id"]

    until(lambda: http.get("/v1/queue").json()["queued"] == 0)
    agrees(dashboard, http)
    dashboard.page.get_by_role("button", name="Older").click()
    dashboard.open_job(jobs[0])
    expect(dashboard.drawer.locator("[data-event=lost]")).to_contain_text(known["id"][:8])
    expect(dashboard.drawer.locator("[data-event=claimed]")).to_have_count(2)


@pytest.mark.usefixtures("drained")
def test_a_job_is_followed_and_its_prompt_is_shown_to_who_asks(
    dashboard: Dashboard, http: httpx.Client
) -> None:
    (job_id,) = submit(http, 1, "bulk", max_new_tokens=4)
    dashboard.open_job(job_id)
    drawer, page = dashboard.drawer, dashboard.page
    expect(drawer.locator("#timeline li")).to_contain_text(["Accepted"])
    assert PROMPT not in page.content()
    drawer.get_by_role("button", name="Show the prompt").click()
    expect(drawer.get_by_role("region", name="The request")).to_contain_text(PROMPT)
    drawer.get_by_role("button", name="Cancel the job").click()
    expect(drawer.locator("#timeline li").last).to_contain_text("Canceled")
    expect(drawer.get_by_role("button", name="Cancel the job")).to_be_hidden()
    page.keyboard.press("Escape")
    assert PROMPT not in page.content()
    page.get_by_label("Status").select_option("canceled")
    expect(dashboard.jobs.first.locator("td").first).to_have_text("canceled")


@pytest.mark.usefixtures("idle")
def test_admins_drain_a_worker_and_let_it_go_on(dashboard: Dashboard, http: httpx.Client) -> None:
    expect(dashboard.workers).to_have_count(1)
    dashboard.workers.get_by_role("button", name="Drain").click()
    expect(dashboard.workers.locator(".badge")).to_have_text("drained")
    expect(dashboard.warnings).to_contain_text("All workers are draining")
    assert http.get("/v1/workers").json()["workers"][0]["draining"]
    dashboard.workers.get_by_role("button", name="Resume").click()
    expect(dashboard.warnings).to_have_count(0)
    expect(dashboard.workers.locator(".badge")).to_be_hidden()
    assert not http.get("/v1/workers").json()["workers"][0]["draining"]


@pytest.mark.usefixtures("drained")
def test_a_queue_is_held_back_and_thrown_away_once_that_is_confirmed(
    dashboard: Dashboard, http: httpx.Client
) -> None:
    submit(http, 3, "bulk")
    submit(http, 2, "normal")
    agrees(dashboard, http)
    expect(dashboard.figure("Queued")).to_have_text("5")
    bulk = dashboard.queue("bulk")
    bulk.get_by_role("button", name="Pause").click()
    expect(bulk.locator(".badge")).to_be_visible()
    assert http.get("/v1/queue").json()["paused"] == ["bulk"]
    resume = bulk.get_by_role("button", name="Resume")
    expect(resume).to_be_focused()
    resume.click()
    expect(bulk.locator(".badge")).to_be_hidden()

    bulk.get_by_role("button", name="Purge").click()
    assert "3 jobs" in dashboard.confirm(yes=False)
    assert dashboard.queued() == {"interactive": "0", "normal": "2", "bulk": "3"}
    bulk.get_by_role("button", name="Purge").click()
    dashboard.confirm(yes=True)
    expect(dashboard.figure("Queued")).to_have_text("2")
    assert dashboard.queued() == {"interactive": "0", "normal": "2", "bulk": "0"}


@pytest.mark.usefixtures("drained")
def test_a_page_of_jobs_that_empties_leads_back_to_the_newest(
    dashboard: Dashboard, http: httpx.Client
) -> None:
    submit(http, 13, "bulk")
    page = dashboard.page
    page.get_by_label("Status").select_option("queued")
    page.locator("#older").click()
    expect(page.locator("#newest")).to_be_enabled()
    expect(page.locator("#jobs tbody tr")).to_have_count(1)
    http.post("/v1/queue:purge", json={"priority": "bulk"}).raise_for_status()
    expect(page.get_by_text("No job is queued.")).to_be_visible(timeout=10_000)
    expect(page.locator("#newest")).to_be_disabled()


@pytest.mark.usefixtures("drained")
def test_the_dead_are_told_of_requeued_and_dropped(
    dashboard: Dashboard, http: httpx.Client, store: JobStore
) -> None:
    second, first = poison(store), poison(store)
    expect(dashboard.dead).to_have_count(2)
    row = dashboard.dead.filter(has_text=first[:8])
    row.get_by_text("5 deaths").click()
    expect(row.locator("li")).to_have_count(5)
    row.get_by_role("button", name="Requeue").dblclick(delay=100)  # once the other is in its place
    expect(dashboard.dead).to_have_count(1)
    (again,) = http.get("/v1/jobs", params={"status": "queued"}).json()["jobs"]
    assert again["id"] != first
    dashboard.dead.get_by_role("button", name="Drop").click()
    assert "history of 5 deaths are lost" in dashboard.confirm(yes=True)
    expect(dashboard.page.locator("#no-dead")).to_be_visible()
    assert http.get("/v1/dead").json()["total"] == 0
    assert http.get(f"/v1/jobs/{second}").json()["status"] == "failed"


def test_a_moment_of_the_last_hour_is_told_to_keys_and_pointers(dashboard: Dashboard) -> None:
    chart = dashboard.page.get_by_role("group", name="Queued over the last hour")
    expect(chart.get_by_role("img", name="jobs; from")).to_be_visible()  # there is a point
    chart.press("ArrowLeft")
    said = re.compile(r"\d\d:\d\d:\d\d: interactive \d+, normal \d+, bulk \d+")
    expect(dashboard.page.locator("#said")).to_have_text(said)
    chart.press("Escape")
    chart.hover(position={"x": 3, "y": 30})
    expect(dashboard.page.locator("figure .at").first).not_to_be_empty()


def test_a_connection_that_breaks_is_told_and_made_again(
    open_dashboard: Callable[..., Dashboard],
) -> None:
    dashboard = open_dashboard(allowed=REFUSED)
    dashboard.is_live()
    held = "**/v1/stats/events"
    dashboard.page.route(held, lambda route: route.abort())
    dashboard.page.reload()
    expect(dashboard.warnings).to_contain_text("No connection")
    expect(dashboard.page.locator("#live")).to_have_text("No connection")
    dashboard.page.unroute(held)
    expect(dashboard.page.locator("#live")).to_have_text("Live")
    expect(dashboard.warnings).to_have_count(0)


def test_a_plain_key_sees_its_own_jobs_and_no_button_of_an_admin(
    open_dashboard: Callable[..., Dashboard],
    locked: str,
    make_key: Callable[..., str],
    http: httpx.Client,
) -> None:
    submit(http, 1, "normal", max_new_tokens=1)  # another's
    plain, admin = make_key("Anna"), make_key("Olga", "--admin")
    dashboard = open_dashboard(locked, allowed=REFUSED)
    dialog = dashboard.page.get_by_role("dialog", name="API key")

    def sign_in(token: str) -> None:
        expect(dialog).to_be_visible()
        dialog.get_by_label("Key").fill(token)
        dialog.get_by_role("button", name="Use it").click()
        dashboard.is_live()

    sign_in(plain)
    expect(dashboard.page.locator("#no-jobs")).to_have_text("No job yet.")
    expect(dashboard.workers).to_have_count(1)
    buttons = dashboard.page.locator("main button:visible")
    assert {each.strip() for each in buttons.all_inner_texts()} == {"Newest", "Older"}
    expect(dashboard.page.get_by_role("heading", name="Dead jobs")).to_be_hidden()
    dashboard.is_accessible()
    dashboard.page.get_by_role("button", name="Anna").click()
    dashboard.page.get_by_role("button", name="Forget it").click()
    sign_in(admin)
    expect(dashboard.workers.get_by_role("button", name="Drain")).to_be_visible()
    expect(dashboard.jobs.first).to_be_visible()
