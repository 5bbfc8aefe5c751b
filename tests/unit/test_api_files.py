"""Uploads, files and batches over HTTP; what batches do is in test_batches.py."""

from __future__ import annotations

import re
from io import BytesIO, FileIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from distilq.access import ApiKey
from distilq.errors import StorageUnavailable
from distilq.settings import Settings
from distilq.storage import Storage
from distilq.testing import MemoryRing, MemoryStore
from tests.unit.api_client import make_client

UNKNOWN_FILE, UNKNOWN_BATCH = "file-" + "0" * 32, "batch_" + "0" * 32
MOST = 2_048


@pytest.fixture
def client() -> FlaskClient:
    return make_client(MemoryStore(), max_file_bytes=MOST, file_ttl_s=1_000)


def send(client: FlaskClient, content: bytes = b"{}\n", **form: Any) -> TestResponse:
    known = {"purpose": "batch", "file": (BytesIO(content), "in.jsonl"), **form}
    given = {name: value for name, value in known.items() if value is not None}
    return client.post("/v1/files", data=given, content_type="multipart/form-data")


def create(client: FlaskClient, file_id: str, sent: Any = None, **fields: Any) -> TestResponse:
    known = {"endpoint": "/v1/completions", "completion_window": "24h", "input_file_id": file_id}
    return client.post("/v1/batches", json=known | fields, headers=sent)


def entry(response: TestResponse) -> tuple[int, str | None, str | None]:
    error = response.get_json()["error"]
    return response.status_code, error["param"], error["code"]


def test_a_file_comes_back_as_it_was_sent(client: FlaskClient) -> None:
    content = bytes(range(256)) * 8
    file = send(client, content).get_json()
    assert (file["bytes"], file["filename"], file["purpose"]) == (2_048, "in.jsonl", "batch")
    assert file["expires_at"] == file["created_at"] + 1_000
    assert client.get(f"/v1/files/{file['id']}").get_json() == file
    response = client.get(f"/v1/files/{file['id']}/content")
    assert response.data == content
    assert client.delete(f"/v1/files/{file['id']}").get_json()["deleted"] is True
    assert client.get(f"/v1/files/{file['id']}").status_code == 404
    assert client.get(f"/v1/files/{file['id']}/content").status_code == 404


def test_a_file_may_be_kept_for_less_time(client: FlaskClient) -> None:
    times: dict[str, Any] = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"}
    file = send(client, b"{}", **times).get_json()
    assert file["expires_at"] == file["created_at"] + 60


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"purpose": None}, (400, "purpose", "missing")),
        ({"purpose": "fine-tune"}, (400, "purpose", "not_offered")),
        ({"file": None}, (400, "file", "missing")),
        ({"other": "x"}, (400, "other", "unknown_field")),
        ({"expires_after[seconds]": "0"}, (400, "expires_after[seconds]", "out_of_range")),
        ({"expires_after[seconds]": "1001"}, (400, "expires_after[seconds]", "out_of_range")),
        ({"purpose": ["batch", "batch"]}, (400, "purpose", "conflict")),
        ({"expires_after[anchor]": "now"}, (400, "expires_after[anchor]", "not_offered")),
        (
            {"file": [(BytesIO(b"a"), "a"), (BytesIO(b"b"), "b")]},
            (400, "file", "conflict"),
        ),
    ],
)
def test_a_form_that_is_wrong(client: FlaskClient, form: dict[str, Any], expected: Any) -> None:
    assert entry(send(client, **form)) == expected
    assert client.get("/v1/files").get_json()["data"] == []


def test_the_bound_of_a_file(client: FlaskClient) -> None:
    assert send(client, b"a" * MOST).status_code == 200
    refused = send(client, b"a" * (MOST + 1))
    assert entry(refused) == (413, None, "payload_too_large")
    assert f"at most {MOST} bytes" in refused.text


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", b"{}", (415, None, "unsupported_media_type")),
        ("multipart/form-data", b"--x", (415, None, "unsupported_media_type")),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense", (400, None, "malformed_body")),
    ],
)
def test_a_body_that_is_no_form(client: FlaskClient, kind: str, body: bytes, expected: Any) -> None:
    assert entry(client.post("/v1/files", data=body, content_type=kind)) == expected


def test_a_form_that_is_packed_is_refused(client: FlaskClient) -> None:
    form = {"purpose": "batch", "file": (BytesIO(b"{}"), "a")}
    packed = client.post("/v1/files", data=form, headers={"Content-Encoding": "gzip"})
    assert entry(packed) == (415, None, "unsupported_media_type")


def test_what_is_too_much_beside_the_file_is_told_with_the_bound_of_the_file(
    client: FlaskClient,
) -> None:
    refused = send(client, purpose="x" * 300_000)
    assert entry(refused) == (413, None, "payload_too_large")
    assert f"at most {MOST} bytes" in refused.text


def test_of_an_upload_that_breaks_off_nothing_is_left(client: FlaskClient) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc'
    response = client.post("/v1/files", data=body, content_type="multipart/form-data; boundary=x")
    assert response.status_code == 400
    assert client.get("/v1/files").get_json()["data"] == []


def test_without_room_for_its_bytes_it_is_refused(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StorageUnavailable

    monkeypatch.setattr(Storage, "_open", full)
    assert entry(send(client)) == (503, None, "storage_unavailable")


def test_a_disk_that_fills_up_meanwhile_is_not_the_clients_fault(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "_open", lambda *_: FileIO("/dev/full", "w"))
    assert entry(send(client)) == (503, None, "storage_unavailable")


def test_an_application_that_was_made_without_says_so() -> None:
    client = create_app(Settings(auth="off"), MemoryStore()).test_client()
    assert entry(client.get("/v1/files")) == (503, None, "storage_unavailable")


def test_files_are_listed_newest_first_in_pages(client: FlaskClient) -> None:
    ids = {send(client).get_json()["id"] for _ in range(5)}
    first = client.get("/v1/files?limit=3").get_json()
    rest = client.get(f"/v1/files?limit=3&after={first['last_id']}").get_json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    listed = [file["id"] for file in (*first["data"], *rest["data"])]
    assert sorted(listed) == sorted(ids)
    assert client.get("/v1/files?purpose=batch_output").get_json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"endpoint": "/v1/chat/completions"}, (400, "endpoint", "not_offered")),
        ({"completion_window": "8d"}, (400, "completion_window", "invalid")),
        ({"completion_window": "soon"}, (400, "completion_window", "invalid")),
        ({"metadata": {"a": 1}}, (400, "metadata.a", "wrong_type")),
        ({"other": 1}, (400, "other", "unknown_field")),
        ({"input_file_id": UNKNOWN_FILE}, (404, None, "file_not_found")),
    ],
)
def test_a_batch_that_is_refused(client: FlaskClient, fields: Any, expected: Any) -> None:
    file_id = send(client).get_json()["id"]
    assert entry(create(client, file_id, **fields)) == expected


def test_batches_are_listed_newest_first_in_pages(client: FlaskClient) -> None:
    file_id = send(client).get_json()["id"]
    ids = {create(client, file_id).get_json()["id"] for _ in range(3)}
    first = client.get("/v1/batches?limit=2").get_json()
    rest = client.get(f"/v1/batches?limit=2&after={first['last_id']}").get_json()
    assert {batch["id"] for batch in (*first["data"], *rest["data"])} == ids
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_a_batch_that_is_asked_for_twice_with_a_key_is_one(client: FlaskClient) -> None:
    file_id, sent = send(client).get_json()["id"], {"Idempotency-Key": "k"}
    first, second = create(client, file_id, sent), create(client, file_id, sent)
    assert first.get_json()["id"] == second.get_json()["id"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    other = create(client, file_id, sent, metadata={"a": "b"})
    assert entry(other) == (400, None, "idempotency_key_reused")
    assert create(client, file_id).get_json()["id"] != first.get_json()["id"]


@pytest.mark.parametrize("order", ["input", "completion"])
def test_of_a_batch_that_has_not_begun_there_is_nothing(client: FlaskClient, order: str) -> None:
    batch_id = create(client, send(client).get_json()["id"]).get_json()["id"]
    response = client.get(f"/v1/batches/{batch_id}/results?order={order}")
    assert (response.status_code, response.data) == (200, b"")


def test_a_query_that_is_wrong(client: FlaskClient) -> None:
    batch_id = create(client, send(client).get_json()["id"]).get_json()["id"]
    refused = client.get(f"/v1/batches/{batch_id}/results?order=random")
    assert entry(refused) == (400, "order", "not_offered")


def test_what_belongs_to_another_key_is_not_there() -> None:
    ring = MemoryRing()
    client = make_client(MemoryStore(), ring)
    anna, ben, admin = (
        {"Authorization": f"Bearer {ring.create(ApiKey(name=name, scopes=scopes))}"}
        for name, scopes in (("a", ("jobs",)), ("b", ("jobs",)), ("c", ("jobs", "admin")))
    )
    form = {"purpose": "batch", "file": (BytesIO(b"{}"), "in.jsonl")}
    file_id = client.post("/v1/files", data=form, headers=anna).get_json()["id"]
    batch_id = create(client, file_id, anna).get_json()["id"]
    routes = [
        (method, re.sub("<file_id>", file_id, re.sub("<batch_id>", batch_id, rule.rule)))
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) & {"GET", "POST", "DELETE"}
        if "<file_id>" in rule.rule or "<batch_id>" in rule.rule
    ]
    assert len(routes) == 6
    for method, path in sorted(routes):
        assert client.open(path, method=method).status_code == 401
        assert client.open(path, method=method, headers=ben).status_code == 404
    assert create(client, file_id, ben).status_code == 404
    for path in ("/v1/files", "/v1/batches"):
        assert client.get(path, headers=ben).get_json()["data"] == []
        assert len(client.get(path, headers=anna).get_json()["data"]) == 1
        assert len(client.get(path, headers=admin).get_json()["data"]) == 1
    assert client.get(f"/v1/batches/{UNKNOWN_BATCH}", headers=anna).status_code == 404
