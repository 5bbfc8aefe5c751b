"""`Client` and `AsyncClient` over an API in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from distilq import errors as e
from distilq.access import ApiKey
from distilq.client import WaitTimedOut
from distilq.client.options import Generation
from distilq.jobs import JobRequest, JobStatus
from distilq.parameters import Parameters
from distilq.testing import FAKE_WORKER, MemoryRing, MemoryStore
from tests.unit.client_twins import Faulty, Twins, api, worked


@pytest.fixture
def store() -> MemoryStore:
    """Its worker finishes a job as soon as somebody waits for it."""
    return worked(MemoryStore(), lambda store, job_id: store.finish(job_id))


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    twins = Twins(request.param)
    yield twins
    twins.close()


@pytest.fixture
def client(twins: Twins, store: MemoryStore) -> Any:
    return twins.client(api(store))


def unworked(store: MemoryStore) -> None:
    store.on_wait = lambda job_id: None


def test_generate_gives_texts(client: Any) -> None:
    result = client.generate(["Once", "Twice"], num_return_sequences=2, seed=7)
    assert result.texts == [["Once and on"] * 2, ["Twice and on"] * 2]
    assert result.text == "Once and on"
    assert result.sequences[1][0].seed == 7
    assert result.job.status is JobStatus.SUCCEEDED
    assert result.job.queue.priority.value == "interactive"


def test_generate_waits_in_its_only_request(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store))
    twins.client(seen).generate("Once")
    assert seen.paths() == ["/v1/jobs"]
    assert seen.requests[0].headers["prefer"] == "wait=30"


def test_a_job_is_submitted_with_all_that_was_said_of_it(client: Any) -> None:
    handle = client.submit(
        "Once",
        priority="bulk",
        stream=True,
        timeout_s=5,
        start_within_s=60,
        result_ttl_s=100,
        metadata={"mine": "42"},
        max_new_tokens=3,
        stop=["\n"],
        logit_bias={"50256": -100.0},
    )
    job = handle.status()
    assert (job.id, job.status, job.stream) == (handle.id, JobStatus.QUEUED, True)
    assert (job.metadata, job.queue.priority.value) == ({"mine": "42"}, "bulk")
    assert (job.parameters.max_new_tokens, job.parameters.stop) == (3, ("\n",))
    assert job.parameters.logit_bias == {"50256": -100.0}


def test_a_job_is_submitted_with_a_webhook(twins: Twins, store: MemoryStore) -> None:
    with pytest.raises(e.InvalidParameters) as refused:  # this service has webhooks off
        twins.client(api(store)).submit("Once", webhook={"url": "https://example.com/told"})
    assert refused.value.errors[0]["pointer"] == "#/webhook"
    allowed = api(store, webhook_hosts="example.com")
    assert twins.client(allowed).submit("Once", webhook={"url": "https://example.com/told"}).id


def test_a_handle_waits_for_its_result(client: Any) -> None:
    handle = client.submit("Once")
    assert handle.wait().status is JobStatus.SUCCEEDED
    assert client.job(handle.id).result().text == "Once and on"


def test_the_parameters_that_editors_know_are_those_of_the_service() -> None:
    assert Generation.__annotations__.keys() == Parameters.model_fields.keys()


def test_token_ids_are_inputs_too(client: Any) -> None:
    assert len(client.generate([[1, 2], [3]]).texts) == 2


def test_bad_fields_are_named(client: Any) -> None:
    with pytest.raises(e.InvalidParameters, match="#/parameters/top_p must be > 0") as caught:
        client.generate("Once", top_p=7, min_p=-1)
    error = caught.value
    assert [entry["pointer"] for entry in error.errors] == [
        "#/parameters/top_p",
        "#/parameters/min_p",
    ]
    assert error.status == 422
    assert error.request_id
    with pytest.raises(e.InvalidParameters, match="#/parameters/topp"):
        client.submit("Once", topp=1)


@pytest.mark.parametrize(
    "error",
    [
        e.PromptTooLong("1,100 tokens, 1,024 positions"),
        e.TimedOut("60 s"),
        e.Poisoned(),
        e.GenerationFailed("no luck"),
    ],
)
def test_a_job_that_fails_raises_its_error(
    client: Any, store: MemoryStore, error: e.DistilqError
) -> None:
    worked(store, lambda store, job_id: store.fail(job_id, error))
    handle = client.submit("Once", stream=True)
    for ends in (lambda: client.generate("Once"), handle.result, lambda: list(handle.stream())):
        with pytest.raises(type(error)) as caught:
            ends()
        assert caught.value.detail == error.detail
        assert caught.value.members["job_status"] == "failed"
    assert caught.value.job_id == handle.id
    assert handle.wait().status is JobStatus.FAILED


def test_canceled_and_expired_jobs_raise_so(client: Any, store: MemoryStore) -> None:
    handle = client.submit("Once")
    assert handle.cancel().status is JobStatus.CANCELED
    assert handle.cancel().status is JobStatus.CANCELED
    with pytest.raises(e.Canceled):
        handle.result()
    expired = client.submit("Once")
    store.expire(expired.id)
    with pytest.raises(e.StartedTooLate):
        expired.result()
    assert expired.cancel().status is JobStatus.EXPIRED


def test_deleting_forgets(client: Any) -> None:
    handle = client.submit("Once")
    with pytest.raises(e.JobNotFinished):
        handle.delete()
    handle.wait()
    assert handle.delete() is None
    with pytest.raises(e.JobGone):
        handle.status()
    for unknown in ("0" * 32, "ä", "?", "../info"):
        with pytest.raises((e.JobNotFound, e.NotFound)):
            client.job(unknown).result()


def test_a_wait_that_is_over_says_that_the_job_goes_on(client: Any, store: MemoryStore) -> None:
    unworked(store)
    handle = client.submit("Once")
    with pytest.raises(WaitTimedOut, match=f"{handle.id} is still queued") as caught:
        handle.result(timeout=0.05)
    assert caught.value.job_id == handle.id
    assert not caught.value.canceled
    assert handle.status().status is JobStatus.QUEUED
    with pytest.raises(WaitTimedOut):
        handle.wait(timeout=0)


def test_a_wait_that_is_over_may_cancel(client: Any, store: MemoryStore) -> None:
    unworked(store)
    handle = client.submit("Once")
    with pytest.raises(WaitTimedOut) as caught:
        handle.result(timeout=0.05, cancel_on_timeout=True)
    assert caught.value.canceled
    assert handle.status().status is JobStatus.CANCELED
    with pytest.raises(WaitTimedOut) as caught:
        client.generate("Once", timeout=0.05)
    assert client.job(caught.value.job_id).status().status is JobStatus.CANCELED
    with pytest.raises(WaitTimedOut) as caught:
        client.generate("Once", timeout=0.05, cancel_on_timeout=False)
    assert client.job(caught.value.job_id).status().status is JobStatus.QUEUED


def test_many_are_submitted_at_once(client: Any) -> None:
    requests = ["Once", {"inputs": "Twice", "priority": "bulk", "parameters": {"seed": 1}}, [5, 6]]
    handles = client.submit_many(requests, top_k=9, seed=2)
    jobs = client.statuses(handle.id for handle in handles)
    assert [job.parameters.seed for job in jobs] == [2, 1, 2]
    assert {job.parameters.top_k for job in jobs} == {9}
    assert [job.queue.priority.value for job in jobs] == ["normal", "bulk", "normal"]
    assert handles[1].result().text == "Twice and on"
    with pytest.raises(e.InvalidParameters) as caught:
        client.submit_many(["fine", "\0"])
    assert caught.value.errors[0]["pointer"] == "#/jobs/1/inputs"


def test_an_idempotency_key_of_ones_own_makes_one_job_of_two(client: Any) -> None:
    first, second = (client.submit("Once", idempotency_key='mine, "1"') for _ in range(2))
    assert first.id == second.id
    with pytest.raises(e.IdempotencyKeyReused):
        client.submit("Twice", idempotency_key='mine, "1"')
    batches = [client.submit_many(["a", "b"], idempotency_key="mine") for _ in range(2)]
    assert [h.id for h in batches[0]] == [h.id for h in batches[1]]


def test_jobs_are_listed_page_by_page(client: Any, store: MemoryStore) -> None:
    handles = client.submit_many(["Once"] * 450)
    store.finish(handles[0].id)
    assert [job.id for job in client.jobs()] == [handle.id for handle in reversed(handles)]
    assert [job.id for job in client.jobs(status="succeeded")] == [handles[0].id]
    assert len(client.statuses([handle.id for handle in handles] * 3)) == 1350
    with pytest.raises(ValueError, match="'done'"):
        client.jobs(status="done")


def test_ids_without_a_job_are_said_to_be_so(client: Any) -> None:
    handle = client.submit("Once")
    handle.cancel()
    handle.delete()
    found = client.statuses([handle.id, "0" * 32, "nonsense"])
    assert [entry.status for entry in found] == ["gone", "unknown", "unknown"]
    assert client.statuses([]) == []


def test_the_service_is_described(client: Any, store: MemoryStore) -> None:
    store.alive = [FAKE_WORKER]
    client.submit("Once")
    assert client.queue().queued == 1
    assert client.workers() == [FAKE_WORKER]
    store.sample()
    assert client.stats().points[0].workers == 1
    info = client.info()
    assert info.limits.max_batch_jobs == 10_000
    assert info.serving[0].model == "fake"


def test_what_has_happened_to_a_job_and_what_was_asked_is_told(client: Any) -> None:
    handle = client.submit("Once", seed=7, metadata={"mine": "42"})
    handle.wait()
    assert [event.event for event in handle.timeline().events][-1] == "succeeded"
    asked = handle.request()
    assert (asked["inputs"], asked["metadata"]) == ("Once", {"mine": "42"})
    assert asked["parameters"]["seed"] == 7


def test_operators_drain_workers_and_look_after_the_dead(client: Any, store: MemoryStore) -> None:
    store.alive = [FAKE_WORKER]
    assert client.drain_worker(FAKE_WORKER.id).draining
    assert not client.resume_worker(FAKE_WORKER.id).draining
    with pytest.raises(e.WorkerNotFound):
        client.drain_worker("nobody")
    ids = [store.submit(JobRequest(inputs="Once")).id for _ in range(2)]
    for job_id in ids:
        store.start(job_id)
        store.bury(job_id)
    assert {entry.id for entry in client.dead()} == set(ids)
    assert [entry.request["inputs"] for entry in client.dead(with_texts=True)] == ["Once"] * 2
    assert client.requeue_dead(ids[0]).status is JobStatus.QUEUED
    client.drop_dead(ids[1])
    assert list(client.dead()) == []
    with pytest.raises(e.NotOnDeadList):
        client.requeue_dead(ids[0])


def test_a_key_is_told_what_it_may_do(twins: Twins, store: MemoryStore) -> None:
    ring = MemoryRing()
    token = ring.create(ApiKey(name="anna"))
    client: Any = twins.client(api(store, ring), api_key=token)
    found = client.me()
    assert (found.name, found.admin, found.keys_required) == ("anna", False, True)
    with pytest.raises(e.Forbidden):
        client.drain_worker("worker-1")


def test_the_key_goes_with_every_request(
    twins: Twins, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = MemoryRing()
    token = ring.create(ApiKey(id="one", name="one"))
    assert twins.client(api(store, ring), api_key=token).generate("Once").text
    with pytest.raises(e.Unauthorized):
        twins.client(api(store, ring), api_key="dq_wrong_key").generate("Once")
    with pytest.raises(e.Unauthorized):
        twins.client(api(store, ring)).info()
    monkeypatch.setenv("DISTILQ_API_KEY", token)
    assert twins.client(api(store, ring)).info().version


def test_the_address_comes_from_the_environment(
    twins: Twins, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def url(**options: Any) -> str:
        seen = Faulty(api(store))
        with pytest.raises(e.DistilqError):
            twins.client(seen, **options).job("x").status()
        return str(seen.requests[0].url)

    assert url() == "http://127.0.0.1:8000/v1/jobs/x"
    monkeypatch.setenv("DISTILQ_URL", "http://elsewhere:81")
    assert url() == "http://elsewhere:81/v1/jobs/x"
    assert url(base_url="https://host/under/") == "https://host/under/v1/jobs/x"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://host", "http://", "host", "http://host?a=1"]
)
def test_what_is_no_address_is_refused_at_once(twins: Twins, store: MemoryStore, url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        twins.client(api(store), base_url=url)


def test_a_key_that_no_header_can_hold_is_refused_at_once(twins: Twins, store: MemoryStore) -> None:
    with pytest.raises(ValueError, match="api_key"):
        twins.client(api(store), api_key="dq_ключ")


def test_text_of_every_script_arrives(twins: Twins, store: MemoryStore) -> None:
    seen = Faulty(api(store))
    assert (
        twins.client(seen).generate("Grüße, 世界 🌍 \u2028").text == "Grüße, 世界 🌍 \u2028 and on"
    )
    assert json.loads(seen.requests[0].content)["inputs"] == "Grüße, 世界 🌍 \u2028"
    with pytest.raises(e.RequestError):
        twins.client(seen).generate("\ud800")


def test_what_a_newer_service_adds_is_left_out(twins: Twins, store: MemoryStore) -> None:
    def newer(request: httpx.Request) -> httpx.Response:
        response = api(store).handle_request(request)
        job = json.loads(response.read())
        job |= {"shape": "round", "parameters": job["parameters"] | {"mirostat": 2}}
        return httpx.Response(response.status_code, json=job)

    assert twins.client(httpx.MockTransport(newer)).generate("Once").text == "Once and on"
