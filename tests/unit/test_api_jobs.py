"""/v1/jobs, :batch and :status over a store in memory."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from api.jobs import LOOKED_AT
from distilq.jobs import MAX_STATUS_IDS
from distilq.testing import Clock, MemoryStore
from tests.unit.api_client import make_client


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=Clock(), max_queued_jobs=100)


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store, max_wait_s=2)


def test_a_submitted_job_is_accepted_with_its_address(client: FlaskClient) -> None:
    response = client.post("/v1/jobs", json={"inputs": "Once", "metadata": {"user": "42"}})
    job = response.get_json()
    assert response.status_code == 202
    assert re.fullmatch("[0-9a-f]{32}", job["id"])
    assert response.headers["Location"] == job["urls"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(response.headers["Retry-After"]) >= 1
    assert "Preference-Applied" not in response.headers
    assert job["status"] == "queued"
    assert job["queue"] == {"priority": "normal", "position": 1, "eta_s": None}
    assert job["metadata"] == {"user": "42"}


def test_the_defaults_and_a_drawn_seed_are_shown(client: FlaskClient) -> None:
    seeds = set()
    for _ in range(2):
        parameters = client.post("/v1/jobs", json={"inputs": "a"}).get_json()["parameters"]
        assert parameters["max_new_tokens"] == 50
        assert parameters["do_sample"] is True
        seeds.add(parameters["seed"])
    assert len(seeds) == 2


@pytest.mark.parametrize(
    "inputs",
    ["text", ["a", "b"], {"input_string": ["a"]}, [1, 2, 3], [[1], [2, 3]]],
    ids=["text", "texts", "card", "tokens", "token lists"],
)
def test_every_form_of_inputs_is_taken(client: FlaskClient, inputs: object) -> None:
    assert client.post("/v1/jobs", json={"inputs": inputs}).status_code == 202


def test_a_job_that_finishes_within_the_wait_answers_200(
    client: FlaskClient, store: MemoryStore
) -> None:
    store.on_wait = store.finish
    response = client.post("/v1/jobs", json={"inputs": "Once"}, headers={"Prefer": "wait=1"})
    assert response.status_code == 200
    assert response.headers["Preference-Applied"] == "wait=1"
    assert "Retry-After" not in response.headers
    assert response.get_json()["result"][0][0]["generated_text"] == "Once and on"


def test_a_job_that_does_not_finish_within_the_wait_answers_202(client: FlaskClient) -> None:
    response = client.post("/v1/jobs", json={"inputs": "Once"}, headers={"Prefer": "wait=0"})
    assert response.status_code == 202
    assert response.headers["Preference-Applied"] == "wait=0"


def test_a_failed_job_is_final_too(client: FlaskClient, store: MemoryStore) -> None:
    store.on_wait = store.expire
    response = client.post("/v1/jobs", json={"inputs": "Once"}, headers={"Prefer": "wait=1"})
    assert response.status_code == 200
    assert response.get_json()["status"] == "expired"
    assert response.get_json()["error"]["type"] == "urn:distilq:problem:start_deadline_passed"


def test_the_id_reaches_the_client_even_if_redis_goes_away_during_the_wait(
    client: FlaskClient, store: MemoryStore
) -> None:
    def go_away(_: str) -> None:
        store.down = True

    store.on_wait = go_away
    response = client.post("/v1/jobs", json={"inputs": "Once"}, headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert "Preference-Applied" not in response.headers


def test_a_full_queue_says_when_to_come_back(store: MemoryStore) -> None:
    store.max_queued_jobs = 1
    client = make_client(store)
    assert client.post("/v1/jobs", json={"inputs": "a"}).status_code == 202
    response = client.post("/v1/jobs", json={"inputs": "a"})
    assert response.status_code == 503
    assert response.get_json()["type"] == "urn:distilq:problem:queue_full"
    assert response.get_json()["retryable"] is True
    assert response.headers["Retry-After"] == "1"


def test_with_keys_off_authorization_is_ignored(client: FlaskClient) -> None:
    response = client.post("/v1/jobs", json={"inputs": "a"}, headers={"Authorization": "Bearer x"})
    assert response.status_code == 202


def test_a_batch_gives_ids_in_order(client: FlaskClient) -> None:
    jobs = [{"inputs": f"text {i}", "metadata": {"i": str(i)}} for i in range(5)]
    response = client.post("/v1/jobs:batch", json={"jobs": jobs})
    refs = response.get_json()["jobs"]
    assert response.status_code == 202
    assert [ref["status"] for ref in refs] == ["queued"] * 5
    found = [client.get(f"/v1/jobs/{ref['id']}").get_json() for ref in refs]
    assert [job["metadata"]["i"] for job in found] == list("01234")


def test_of_a_batch_over_the_cap_nothing_is_queued(client: FlaskClient) -> None:
    response = client.post("/v1/jobs:batch", json={"jobs": [{"inputs": "a"}] * 101})
    assert response.status_code == 503
    assert client.get("/v1/queue").get_json()["queued"] == 0


def test_the_first_bad_job_refuses_the_batch_and_is_pointed_at(client: FlaskClient) -> None:
    jobs = [{"inputs": "a"}, {"inputs": ["b", 3], "parameters": {"top_p": 0}}, {}]
    response = client.post("/v1/jobs:batch", json={"jobs": jobs})
    assert response.status_code == 422
    pointers = [error["pointer"] for error in response.get_json()["errors"]]
    assert pointers == ["#/jobs/1/inputs/1", "#/jobs/1/parameters/top_p"]
    assert client.get("/v1/queue").get_json()["queued"] == 0


def test_an_empty_batch_is_refused(client: FlaskClient) -> None:
    response = client.post("/v1/jobs:batch", json={"jobs": []})
    assert response.status_code == 422
    assert response.get_json()["errors"] == [
        {"pointer": "#/jobs", "code": "out_of_range", "detail": "must have at least 1 item"}
    ]


def test_a_batch_has_its_own_body_limit(store: MemoryStore) -> None:
    client = make_client(store, max_body_bytes=1024, max_batch_body_bytes=4096)
    long = {"inputs": "x" * 2000}
    assert client.post("/v1/jobs", json=long).status_code == 413
    assert client.post("/v1/jobs:batch", json={"jobs": [long]}).status_code == 202
    assert client.post("/v1/jobs:batch", json={"jobs": [long] * 3}).status_code == 413


def test_statuses_come_in_the_order_asked_known_or_not(
    client: FlaskClient, store: MemoryStore
) -> None:
    first, second = (client.post("/v1/jobs", json={"inputs": "a"}).get_json() for _ in range(2))
    store.finish(second["id"])
    client.delete(f"/v1/jobs/{second['id']}")
    ids = ["0" * 32, second["id"], first["id"], "no id at all", first["id"]]
    found = client.post("/v1/jobs:status", json={"ids": ids}).get_json()["jobs"]
    assert [job["id"] for job in found] == ids
    statuses = [job["status"] for job in found]
    assert statuses == ["unknown", "gone", "queued", "unknown", "queued"]
    assert found[2]["urls"] == first["urls"]


def test_statuses_of_many_jobs_come_in_the_order_asked() -> None:
    client = make_client(MemoryStore(max_queued_jobs=1_000))
    jobs = [{"inputs": "a"}] * (2 * LOOKED_AT + 1)
    refs = client.post("/v1/jobs:batch", json={"jobs": jobs}).get_json()["jobs"]
    ids = [ref["id"] for ref in refs][::-1]
    found = client.post("/v1/jobs:status", json={"ids": ids}).get_json()["jobs"]
    assert [job["id"] for job in found] == ids


def test_no_ids_have_no_statuses(client: FlaskClient) -> None:
    assert client.post("/v1/jobs:status", json={"ids": []}).get_json() == {"jobs": []}


def test_too_many_ids_are_refused(client: FlaskClient) -> None:
    response = client.post("/v1/jobs:status", json={"ids": ["a"] * (MAX_STATUS_IDS + 1)})
    assert response.status_code == 422
    assert response.get_json()["errors"][0]["detail"] == "must have at most 1000 items"


def test_jobs_are_listed_newest_first_page_by_page(client: FlaskClient) -> None:
    ids = [client.post("/v1/jobs", json={"inputs": "a"}).get_json()["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str] | None = {"limit": "2"}
    while query is not None:
        page = client.get("/v1/jobs", query_string=query).get_json()
        assert len(page["jobs"]) <= 2
        seen += [job["id"] for job in page["jobs"]]
        query = page["next"] and {"limit": "2", "cursor": page["next"]}
    assert seen == ids[::-1]


def test_jobs_are_filtered_by_status(client: FlaskClient, store: MemoryStore) -> None:
    ids = [client.post("/v1/jobs", json={"inputs": "a"}).get_json()["id"] for _ in range(3)]
    store.start(ids[1])
    page = client.get("/v1/jobs?status=running").get_json()
    assert [job["id"] for job in page["jobs"]] == [ids[1]]
    assert page["next"] is None


@pytest.mark.parametrize(
    ("query", "parameter", "code"),
    [
        ("limit=0", "limit", "out_of_range"),
        ("limit=201", "limit", "out_of_range"),
        ("limit=many", "limit", "wrong_type"),
        ("limit=", "limit", "wrong_type"),
        ("status=done", "status", "unknown_value"),
        ("cursor=@", "cursor", "invalid"),
        ("stat=queued", "stat", "unknown_field"),
        ("limit=1&limit=2", "limit", "conflict"),
    ],
)
def test_a_bad_query_names_its_parameter(
    client: FlaskClient, query: str, parameter: str, code: str
) -> None:
    response = client.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    (error,) = response.get_json()["errors"]
    assert (error["parameter"], error["code"]) == (parameter, code)
