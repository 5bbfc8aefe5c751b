"""The receiver that docs/clients.md shows takes what a dispatcher sends, once, and nothing else."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from distilq.jobs import JobRequest
from distilq.webhooks.signing import new_secret, read_secrets, signed_headers

PAGE = (Path(__file__).parents[2] / "docs/clients.md").read_text()
SECTION = PAGE.partition("\n## Webhooks\n")[2].partition("\n## ")[0]
[BLOCK] = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
SECRET = re.findall(r"whsec_[A-Za-z0-9+/=]+", BLOCK)[0]
BODY = json.dumps({"type": "job.succeeded", "data": {"id": "0" * 32}}).encode()


@pytest.fixture
def receiver() -> FlaskClient:
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(BLOCK, names)  # noqa: S102 (it is the page's)
    client: FlaskClient = names["app"].test_client()
    return client


def test_it_takes_a_message_once(receiver: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    headers = signed_headers(read_secrets(SECRET), "msg_1", int(time.time()), BODY)
    for _ in range(2):
        assert receiver.post("/texts", data=BODY, headers=headers).status_code == 204
    assert capsys.readouterr().out == f"job.succeeded {'0' * 32}\n"


def test_it_refuses_what_somebody_else_sends(receiver: FlaskClient) -> None:
    headers = signed_headers(read_secrets(new_secret()), "msg_1", int(time.time()), BODY)
    assert receiver.post("/texts", data=BODY, headers=headers).status_code == 401
    assert receiver.post("/texts", data=BODY).status_code == 401


def test_the_job_that_it_shows_is_one() -> None:
    body = re.findall(r"^```json\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[0]
    assert JobRequest.model_validate_json(body).webhook is not None
