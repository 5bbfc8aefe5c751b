"""Whatever the holder of one key does, it neither sees nor changes the jobs of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.app import create_app
from distilq.access import ApiKey, KeyRing
from distilq.claims import Claims
from distilq.jobs import JobStatus, Outcome, Sequence
from distilq.settings import Settings
from distilq.store import JobStore

MODEL = "bundled"
SECRET = "what only Anna may read"
TEXT = Sequence(generated_text=SECRET, finish_reason="length", generated_tokens=2, seed=7)
BENS_TEXT = TEXT.model_copy(update={"generated_text": "and on"})
ANNAS = {"inputs": SECRET, "metadata": {"note": SECRET}}
BENS = {"inputs": "anything", "parameters": {"max_new_tokens": 1}}
PRIORITIES = st.sampled_from([None, "interactive", "normal", "bulk"])

#: What Anna and the worker do to her jobs between Ben's calls, by the number of the job.
DEEDS = st.sampled_from(["submit", "batch", "take", "finish", "cancel", "delete"])
#: Ben's calls: name, number of the job of Anna's that he tries, one more choice.
CALLS = (
    *("get", "result", "events", "cancel", "delete", "status", "list", "list-all", "cursor"),
    *("deliveries", "redeliver", "timeline", "request"),
    *("completions", "models", "model", "generate", "generate-stream", "tgi", "tgi-info"),
    *(
        "submit",
        "batch",
        "score",
        "queue",
        "info",
        "me",
        "workers",
        "metrics",
        "stats",
        "stats-events",
        "pause",
        "resume",
        "purge",
        "dead",
        "requeue",
        "drop",
        "drain",
        "wake",
    ),
)
#: Those of a single job: it is as if it did not exist.
OF_ONE = (
    *("get", "result", "events", "cancel", "delete"),
    *("deliveries", "redeliver", "timeline", "request"),
)
NAMES = st.one_of(DEEDS.map(lambda deed: f"anna-{deed}"), st.sampled_from(CALLS))
STEPS = st.lists(
    st.tuples(NAMES, st.integers(0, 9), PRIORITIES),
    min_size=1,
    max_size=25,
)


class World:
    """Two keys, one service, and a worker that the test plays."""

    def __init__(self, client: FlaskClient, ring: KeyRing, claims: Claims) -> None:
        self.client, self.claims = client, claims
        self.anna, self.ben = (
            {"Authorization": f"Bearer {ring.create(ApiKey(name=name))}"}
            for name in ("Anna", "Ben")
        )
        self.held: list[Any] = []
        self.annas: list[str] = []
        self.bens: set[str] = set()
        self.as_anna("submit", 0, None)

    def outcome(self, job_id: str) -> Outcome:
        """Her secret is the text of her jobs alone; the worker runs Ben's too."""
        return Outcome(result=[[TEXT if job_id in self.annas else BENS_TEXT]])

    def call(self, sent: dict[str, str], method: str, path: str, body: Any = None) -> Any:
        return self.client.open(path, method=method, json=body, headers=sent)

    def as_anna(self, deed: str, number: int, priority: str | None) -> None:
        job = {**ANNAS, "priority": priority or "normal"}
        path = f"/v1/jobs/{self.annas[number % len(self.annas)]}" if self.annas else ""
        if deed == "submit":
            self.annas.append(self.call(self.anna, "POST", "/v1/jobs", job).get_json()["id"])
        elif deed == "batch":
            refs = self.call(self.anna, "POST", "/v1/jobs:batch", {"jobs": [job, job]}).get_json()
            self.annas += [ref["id"] for ref in refs["jobs"]]
        elif deed == "take":
            self.held += self.claims.take(1)
        elif deed == "finish":
            self.claims.finish([(claim, self.outcome(claim.id)) for claim in self.held], {})
            self.held.clear()
        elif deed == "cancel":
            self.call(self.anna, "POST", f"{path}/cancel")
        else:
            self.call(self.anna, "DELETE", path)

    def as_ben(self, name: str, number: int, priority: str | None) -> Any:
        job_id = self.annas[number % len(self.annas)]
        path, body = f"/v1/jobs/{job_id}", {**BENS, "priority": priority or "normal"}
        query = f"?limit={number + 1}&status={[*JobStatus][number % len(JobStatus)].value}"
        calls: dict[str, tuple[str, str, Any]] = {
            "get": ("GET", path, None),
            "result": ("GET", f"{path}/result", None),
            "events": ("GET", f"{path}/events", None),
            "cancel": ("POST", f"{path}/cancel", None),
            "delete": ("DELETE", path, None),
            "deliveries": ("GET", f"{path}/deliveries", None),
            "redeliver": ("POST", f"{path}/redeliver", None),
            "timeline": ("GET", f"{path}/timeline", None),
            "request": ("GET", f"{path}/request", None),
            "status": ("POST", "/v1/jobs:status", {"ids": [*self.annas[-5:], "0" * 32]}),
            "list": ("GET", f"/v1/jobs{query}", None),
            "list-all": ("GET", "/v1/jobs?limit=200", None),
            "cursor": ("GET", f"/v1/jobs?cursor={2 * number + 1:x}", None),
            "submit": ("POST", "/v1/jobs", body),
            "batch": ("POST", "/v1/jobs:batch", {"jobs": [body] * (number + 1)}),
            "score": ("POST", "/score", BENS),
            "completions": ("POST", "/v1/completions", {"model": MODEL, "prompt": "anything"}),
            "models": ("GET", "/v1/models", None),
            "model": ("GET", f"/v1/models/{MODEL}", None),
            "generate": ("POST", "/generate", {"inputs": "anything"}),
            "generate-stream": ("POST", "/generate_stream", {"inputs": "anything"}),
            "tgi": ("POST", "/", {"inputs": "anything"}),
            "tgi-info": ("GET", "/info", None),
            "queue": ("GET", "/v1/queue", None),
            "info": ("GET", "/v1/info", None),
            "me": ("GET", "/v1/me", None),
            "workers": ("GET", "/v1/workers", None),
            "metrics": ("GET", "/metrics", None),
            "dead": ("GET", "/v1/dead?include=request", None),
            "requeue": ("POST", f"/v1/dead/{job_id}:requeue", None),
            "drain": ("POST", "/v1/workers/w1:drain", None),
            "wake": ("POST", "/v1/workers/w1:resume", None),
            "drop": ("DELETE", f"/v1/dead/{job_id}", None),
            "stats": ("GET", "/v1/stats", None),
            "stats-events": ("GET", "/v1/stats/events", None),
        }
        method, path, asked = calls.get(name) or (
            *("POST", f"/v1/queue:{name}"),
            {"priority": priority},
        )
        return self.call({**self.ben, "Prefer": "wait=10"}, method, path, asked)

    def of_anna(self) -> Any:
        """All that she can see of her jobs, but where they stand in the queue."""
        sent = {"ids": self.annas}
        jobs = self.call(self.anna, "POST", "/v1/jobs:status", sent).get_json()["jobs"]
        return [{name: value for name, value in job.items() if name != "queue"} for job in jobs]


def check(world: World, name: str, number: int, priority: str | None) -> None:
    before = world.of_anna()
    response = world.as_ben(name, number, priority)
    assert world.of_anna() == before, f"{name} has changed a job of hers"
    assert SECRET not in response.text
    if name in OF_ONE:
        assert response.status_code == 404
        assert response.get_json()["type"] == "urn:distilq:problem:job_not_found"
    elif name in ("pause", "resume", "purge", "dead", "requeue", "drop", "drain", "wake"):
        assert response.status_code == 403
    elif name == "status":
        assert {job["status"] for job in response.get_json()["jobs"]} == {"unknown"}
    else:
        assert not [job_id for job_id in world.annas if job_id in response.text]


@pytest.fixture
def client(redis_client: Any, redis_url: str) -> Iterator[FlaskClient]:
    chosen = Settings(redis_url=redis_url, model=MODEL, auth="on")
    store = JobStore(redis_client, chosen)
    app = create_app(chosen, store, KeyRing(redis_client))
    app.extensions["distilq.stopping"] = lambda: True  # who waits is answered at once
    yield app.test_client()
    store.close()


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_one_keys_holder_never_sees_or_changes_anothers_jobs(
    client: FlaskClient, redis_client: Any, steps: list[tuple[str, int, str | None]]
) -> None:
    redis_client.flushall()
    world = World(client, KeyRing(redis_client), Claims(redis_client, MODEL, "w1"))
    for name, number, priority in steps:
        if name.startswith("anna-"):
            world.as_anna(name.removeprefix("anna-"), number, priority)
        else:
            check(world, name, number, priority)


def test_the_worlds_text_would_be_noticed(client: FlaskClient, redis_client: Any) -> None:
    """The check itself: with Anna's own key in Ben's hand it fails."""
    world = World(client, KeyRing(redis_client), Claims(redis_client, MODEL, "w1"))
    world.as_anna("take", 0, None)
    world.as_anna("finish", 0, None)
    world.ben = world.anna
    for name in ("result", "list-all", "delete"):
        with pytest.raises(AssertionError):
            check(world, name, 0, None)


def test_every_route_of_jobs_is_among_the_calls(client: FlaskClient, redis_client: Any) -> None:
    world = World(client, KeyRing(redis_client), Claims(redis_client, MODEL, "w1"))
    seen = set()

    def call(sent: dict[str, str], method: str, path: str, body: Any = None) -> None:
        matched = client.application.url_map.bind("").match(path.partition("?")[0], method)
        seen.add(matched[0])

    world.call = call  # type: ignore[method-assign]
    for name in CALLS:
        world.as_ben(name, 0, None)
    routes = {rule.endpoint for rule in client.application.url_map.iter_rules()}
    # Of files and batches: tests/unit/test_api_files.py.
    of_jobs = {name for name in routes if not name.startswith(("openai_files", "openai_batches"))}
    assert of_jobs - seen == {
        *("status.livez", "status.readyz", "tgi.health"),
        *("pages.index", "pages.dashboard", "pages.about", "pages.web", "pages.openapi"),
    }
