"""Keys, scopes and rates, over a store and a ring in memory."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.pages import VERSION
from distilq.access import ApiKey, Limits
from distilq.jobs import JobRequest, Priority
from distilq.owner import EVERYBODY
from distilq.settings import Auth, Settings
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.api_client import CheckedClient, make_client

UNKNOWN = "0" * 32
JOB = {"inputs": "a"}
STYLE = f"/web/{VERSION}/base.css"
OPEN = ["/livez", "/readyz", "/health", "/", "/about", "/dashboard", STYLE, "/openapi.json"]
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/v1/jobs", JOB),
    ("GET", "/v1/jobs", None),
    ("POST", "/v1/jobs:batch", {"jobs": [JOB]}),
    ("POST", "/v1/jobs:status", {"ids": [UNKNOWN]}),
    ("GET", f"/v1/jobs/{UNKNOWN}", None),
    ("GET", "/v1/jobs/no-id", None),
    ("DELETE", f"/v1/jobs/{UNKNOWN}", None),
    ("GET", f"/v1/jobs/{UNKNOWN}/result", None),
    ("GET", f"/v1/jobs/{UNKNOWN}/events", None),
    ("GET", f"/v1/jobs/{UNKNOWN}/timeline", None),
    ("GET", f"/v1/jobs/{UNKNOWN}/request", None),
    ("POST", f"/v1/jobs/{UNKNOWN}/cancel", None),
    ("GET", f"/v1/jobs/{UNKNOWN}/deliveries", None),
    ("POST", f"/v1/jobs/{UNKNOWN}/redeliver", None),
    ("POST", "/score", JOB),
    *(("POST", path, JOB) for path in ("/", "/generate", "/generate_stream")),
    ("GET", "/info", None),
    ("GET", "/v1/info", None),
    ("GET", "/v1/me", None),
    ("GET", "/v1/queue", None),
    ("GET", "/v1/workers", None),
    ("GET", "/v1/stats", None),
    ("GET", "/v1/stats/events", None),
    ("GET", "/metrics", None),
    ("GET", "/v1/dead", None),
    ("POST", f"/v1/dead/{UNKNOWN}:requeue", None),
    ("DELETE", f"/v1/dead/{UNKNOWN}", None),
    ("POST", "/v1/workers/nobody:drain", None),
    ("POST", "/v1/workers/nobody:resume", None),
    ("POST", "/v1/queue:pause", {}),
    ("POST", "/v1/queue:resume", {}),
    ("POST", "/v1/queue:purge", {}),
]
#: Their errors are OpenAI's: test_api_completions.py, test_api_files.py.
OPENAIS = [
    *("/v1/completions", "/v1/models", "/v1/models/<name:model>"),
    *("/v1/files", "/v1/files/<file_id>", "/v1/files/<file_id>/content"),
    *("/v1/batches", "/v1/batches/<batch_id>", "/v1/batches/<batch_id>/cancel"),
    "/v1/batches/<batch_id>/results",
]
#: Their errors are TGI's.
TGIS = {"/", "/generate", "/generate_stream", "/info"}
ADMIN_ROUTES = [
    (method, path, body)
    for method, path, body in ROUTES
    if path.startswith(("/v1/queue:", "/v1/dead", "/v1/workers/"))
]


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.alive.append(FAKE_WORKER)
    return store


@pytest.fixture
def ring() -> MemoryRing:
    return MemoryRing()


@pytest.fixture
def client(store: MemoryStore, ring: MemoryRing) -> FlaskClient:
    return make_client(store, ring, max_wait_s=1)


def headers(ring: MemoryRing, *, admin: bool = False, **limits: int) -> dict[str, str]:
    """Those of a new key."""
    scopes: Any = ("jobs", "admin") if admin else ("jobs",)
    token = ring.create(ApiKey(name="a", scopes=scopes, limits=Limits(**limits)))
    return {"Authorization": f"Bearer {token}"}


def kind(response: TestResponse) -> str:
    return str(response.get_json()["type"]).removeprefix("urn:distilq:problem:")


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize(
    "given", [None, "", "Bearer", "Bearer ", "Bearer dq_x", "Basic YTpi", "Bearer a b", "Bearer é"]
)
def test_without_a_valid_key_nothing_happens(
    client: FlaskClient, store: MemoryStore, method: str, path: str, body: Any, given: str | None
) -> None:
    sent = {} if given is None else {"Authorization": given}
    response = client.open(path, method=method, json=body, headers=sent)
    assert response.status_code == 401
    assert path in TGIS or kind(response) == "unauthorized"
    challenge = response.headers["WWW-Authenticate"]
    assert challenge == ("Bearer" if given is None else 'Bearer error="invalid_token"')
    assert store.page(None, 10, None).jobs == []
    assert store.paused == set()


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("given", ["", "Bearer dq_x"])
def test_what_is_open_asks_nobody(client: FlaskClient, path: str, given: str) -> None:
    assert client.get(path, headers={"Authorization": given}).status_code == 200


def test_every_route_is_either_open_or_tested_here(client: FlaskClient) -> None:
    paths = [path.replace(f"dead/{UNKNOWN}", "dead/<entry_id>") for _, path, _ in ROUTES]
    paths = [path.replace("nobody", "<worker_id>") for path in paths]
    named = {path.replace(UNKNOWN, "<job_id>") for path in paths} | {*OPEN, *OPENAIS}
    named |= {"/web/<version>/<name>", "/web/<version>/<folder>/<name>"}  # STYLE is one
    assert {rule.rule for rule in client.application.url_map.iter_rules()} <= named


def test_an_unknown_address_is_unknown_with_and_without_a_key(
    client: FlaskClient, ring: MemoryRing
) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/nothing", headers=headers(ring)).status_code == 404
    assert client.put("/v1/jobs").status_code == 405


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
def test_the_scheme_may_be_written_as_one_likes(
    client: FlaskClient, ring: MemoryRing, scheme: str
) -> None:
    token = headers(ring)["Authorization"].split()[1]
    sent = {"Authorization": f"{scheme} {token}"}
    assert client.get("/v1/info", headers=sent).status_code == 200


def test_a_key_sees_its_own_jobs_and_no_others(client: FlaskClient, ring: MemoryRing) -> None:
    anna, ben, admin = headers(ring), headers(ring), headers(ring, admin=True)
    job_id = client.post("/v1/jobs", json=JOB, headers=anna).get_json()["id"]
    path = f"/v1/jobs/{job_id}"
    for sent, status, listed in ((anna, 200, 1), (ben, 404, 0), (admin, 200, 1)):
        assert client.get(path, headers=sent).status_code == status
        assert len(client.get("/v1/jobs", headers=sent).get_json()["jobs"]) == listed
    assert client.post(f"{path}/cancel", headers=ben).status_code == 404
    assert client.delete(path, headers=ben).status_code == 404
    found = client.post("/v1/jobs:status", json={"ids": [job_id]}, headers=ben).get_json()
    assert found["jobs"] == [{"id": job_id, "status": "unknown"}]
    assert client.get(path, headers=anna).get_json()["status"] == "queued"
    assert client.post(f"{path}/cancel", headers=admin).status_code == 200


def test_whoever_asks_is_told_what_the_key_may_do(client: FlaskClient, ring: MemoryRing) -> None:
    for admin, scopes in ((False, ["jobs"]), (True, ["jobs", "admin"])):
        sent = headers(ring, admin=admin)
        key = ring.verify(sent["Authorization"].split()[1])
        assert key is not None
        assert client.get("/v1/me", headers=sent).get_json() == {
            **{"id": key.id, "name": "a", "owner": key.id},
            **{"scopes": scopes, "admin": admin, "keys_required": True},
        }


def test_where_keys_are_off_everybody_is_told_to_be_an_admin(store: MemoryStore) -> None:
    assert make_client(store).get("/v1/me").get_json() == {
        **{"id": None, "name": None, "owner": ""},
        **{"scopes": ["jobs", "admin"], "admin": True, "keys_required": False},
    }


def test_a_key_waits_for_its_own_score(
    client: FlaskClient, store: MemoryStore, ring: MemoryRing
) -> None:
    store.on_wait = store.finish
    assert client.post("/score", json=JOB, headers=headers(ring)).status_code == 200


def test_jobs_from_before_there_were_keys_are_for_admins(
    client: FlaskClient, store: MemoryStore, ring: MemoryRing
) -> None:
    path = f"/v1/jobs/{store.submit(JobRequest(inputs='a')).id}"
    assert client.get(path, headers=headers(ring)).status_code == 404
    assert client.get(path, headers=headers(ring, admin=True)).status_code == 200


def test_a_keys_own_caps_are_429(client: FlaskClient, ring: MemoryRing) -> None:
    few = headers(ring, max_queued_jobs=1)
    assert client.post("/v1/jobs", json=JOB, headers=few).status_code == 202
    response = client.post("/v1/jobs", json=JOB, headers=few)
    assert (response.status_code, kind(response)) == (429, "owner_full")


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_ROUTES)
def test_what_operators_do_is_for_admins(
    client: FlaskClient, ring: MemoryRing, method: str, path: str, body: Any
) -> None:
    refused = client.open(path, method=method, json=body, headers=headers(ring))
    assert (refused.status_code, kind(refused)) == (403, "forbidden")
    done = client.open(path, method=method, json=body, headers=headers(ring, admin=True))
    assert done.status_code == (404 if UNKNOWN in path or "nobody" in path else 200)


def test_a_priority_is_paused_and_resumed(
    client: FlaskClient, store: MemoryStore, ring: MemoryRing
) -> None:
    admin = headers(ring, admin=True)

    def post(action: str, body: Any) -> Any:
        return client.post(f"/v1/queue:{action}", json=body, headers=admin).get_json()

    assert post("pause", {"priority": "bulk"}) == {"paused": ["bulk"]}
    assert client.get("/v1/queue", headers=headers(ring)).get_json()["paused"] == ["bulk"]
    assert store.paused == {Priority.BULK}
    assert post("pause", {}) == {"paused": ["interactive", "normal", "bulk"]}
    assert post("resume", {"priority": "normal"}) == {"paused": ["interactive", "bulk"]}
    assert post("resume", {"priority": None}) == {"paused": []}


def test_a_purge_says_how_many_there_were(client: FlaskClient, ring: MemoryRing) -> None:
    admin = headers(ring, admin=True)
    jobs = [{**JOB, "priority": priority} for priority in ("bulk", "bulk", "normal")]
    client.post("/v1/jobs:batch", json={"jobs": jobs}, headers=headers(ring))
    for body, removed in (({"priority": "bulk"}, 2), ({}, 1), ({}, 0)):
        response = client.post("/v1/queue:purge", json=body, headers=admin)
        assert response.get_json() == {"removed": removed}


@pytest.mark.parametrize("body", [{"priority": "all"}, {"priority": 1}, {"prio": "bulk"}, []])
def test_a_body_that_is_wrong_changes_nothing(
    client: FlaskClient, store: MemoryStore, ring: MemoryRing, body: Any
) -> None:
    response = client.post("/v1/queue:pause", json=body, headers=headers(ring, admin=True))
    assert response.status_code == 422
    assert client.post("/v1/queue:purge", headers=headers(ring, admin=True)).status_code == 415
    assert store.paused == set()


def test_with_keys_off_everybody_is_an_admin(store: MemoryStore) -> None:
    client = make_client(store)
    assert client.post("/v1/queue:pause", json={}).status_code == 200


def test_what_is_left_of_a_rate_is_said(client: FlaskClient, ring: MemoryRing) -> None:
    sent = headers(ring, rate_per_minute=3)
    first = client.post("/v1/jobs", json=JOB, headers=sent)
    assert first.headers["RateLimit-Policy"] == '"submit";q=3;w=60'
    assert first.headers["RateLimit"] == '"submit";r=2;t=60'
    batch = {"jobs": [JOB, JOB, JOB]}
    refused = client.post("/v1/jobs:batch", json=batch, headers=sent)
    assert (refused.status_code, kind(refused)) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["RateLimit"] == '"submit";r=2;t=60'
    assert client.post("/v1/jobs:batch", json={"jobs": [JOB, JOB]}, headers=sent).status_code == 202
    assert client.post("/score", json=JOB, headers=sent).status_code == 429
    assert "RateLimit" not in client.get("/v1/jobs", headers=sent).headers


def test_a_batch_that_the_rate_never_allows_is_not_to_be_tried_again(
    client: FlaskClient, ring: MemoryRing
) -> None:
    sent = headers(ring, rate_per_minute=2)
    response = client.post("/v1/jobs:batch", json={"jobs": [JOB] * 3}, headers=sent)
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["pointer"] == "#/jobs"
    assert ring.spent == {}


def test_what_is_no_submission_costs_nothing(client: FlaskClient, ring: MemoryRing) -> None:
    sent = headers(ring, rate_per_minute=2)
    for path in ("/v1/jobs", "/v1/jobs:batch", "/score"):
        assert client.post(path, json={"inputs": 1}, headers=sent).status_code == 422
    assert ring.spent == {}


def test_a_key_without_a_rate_has_no_headers_of_it(client: FlaskClient, ring: MemoryRing) -> None:
    response = client.post("/v1/jobs", json=JOB, headers=headers(ring))
    assert not {"RateLimit", "RateLimit-Policy"} & set(response.headers.keys())


def test_redis_away_is_503_and_not_a_wrong_key(client: FlaskClient, ring: MemoryRing) -> None:
    sent = headers(ring)
    ring.down = True
    response = client.get("/v1/info", headers=sent)
    assert (response.status_code, kind(response)) == (503, "store_unavailable")
    assert client.get("/livez").status_code == 200


def test_no_token_gets_into_the_log_or_an_answer(
    client: FlaskClient, ring: MemoryRing, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    sent = headers(ring)
    token = sent["Authorization"].split()[1]
    wrong = {"Authorization": "Bearer dq_0123456789abcdef_verysecret"}
    answers = [client.post("/v1/jobs", json=body, headers=sent).text for body in (JOB, {}, None)]
    answers += [client.get("/v1/info", headers=wrong).text]
    ring.down = True
    answers += [client.get("/v1/info", headers=sent).text]
    said = "".join(answers) + caplog.text
    assert caplog.records
    assert token not in said
    assert "verysecret" not in said


def app_with(auth: Auth, ring: MemoryRing | None) -> FlaskClient:
    app = create_app(Settings(auth=auth), MemoryStore(), ring)
    app.test_client_class = CheckedClient
    return app.test_client()


def test_an_application_that_does_not_know_where_it_listens_requires_keys() -> None:
    client = app_with("auto", MemoryRing())
    assert client.get("/v1/info").status_code == 401
    client.application.extensions["distilq.door"].settle(["127.0.0.1"])
    assert client.get("/v1/info").status_code == 200
    client.application.extensions["distilq.door"].settle(["0.0.0.0"])
    assert client.get("/v1/info").status_code == 401


@pytest.mark.parametrize("auth", ["auto", "on"])
def test_an_application_without_a_ring_must_be_told_that_keys_are_off(auth: Auth) -> None:
    with pytest.raises(ValueError, match="no ring"):
        app_with(auth, None)


def test_on_stays_on_wherever_it_listens() -> None:
    client = app_with("on", MemoryRing())
    client.application.extensions["distilq.door"].settle(["127.0.0.1"])
    assert client.get("/v1/info").status_code == 401


def test_the_page_says_that_a_key_is_needed(client: FlaskClient, store: MemoryStore) -> None:
    assert "Authorization: Bearer" in client.get("/about").text
    assert "Authorization: Bearer" not in make_client(store).get("/about").text


def test_everybody_is_not_a_key() -> None:
    assert EVERYBODY.id == ""
    assert ApiKey(name="a").id != ""
