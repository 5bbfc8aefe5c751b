"""The whole API against its own document: schemathesis draws requests, valid and not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from api.app import create_app
from distilq.jobs import JobRequest
from distilq.settings import Settings
from distilq.testing import FAKE_WORKER, MemoryStore
from distilq.testing_library import memory_library

pytest.importorskip("schemathesis")  # it needs Python 3.11
import schemathesis
from schemathesis.checks import CHECKS

#: 422 codes of what no JSON schema can say: one field contradicts another; a cursor is opaque;
#: whom this service tells is its operator's choice.
BEYOND_SCHEMAS = {"conflict", "invalid", "webhooks_off"}

#: Beside schemathesis' own: a job whose text is gone; a body so large that nobody looks into it.
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {
            "positive_data_acceptance": {
                "expected-statuses": ["2xx", "3xx", 404, 409, 410],
            },
            "negative_data_rejection": {
                "expected-statuses": [400, 404, 405, 406, 409, 410, 413, 415, 422],
            },
        }
    }
)


class PlayedStore(MemoryStore):
    """With a worker that finishes whatever somebody waits for, and a job in every state."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = [FAKE_WORKER]
        self.on_wait = self._play
        self.ids = [self.submit(JobRequest(inputs="a")).id for _ in range(12)]
        for job_id in self.ids[3:]:
            self.start(job_id)
        for job_id in self.ids[6:]:
            self.finish(job_id)

    def _play(self, job_id: str) -> None:
        with suppress(RuntimeError):  # final already
            self.finish(job_id)


store = PlayedStore()
app = create_app(Settings(max_wait_s=1, auth="off"), store, library=memory_library())
# The events of the service have no end: test_api_stats.py.
schema = schemathesis.openapi.from_wsgi("/openapi.json", app, config=CONFIG).exclude(
    path="/v1/stats/events"
)


@schema.hook
def map_path_parameters(
    context: schemathesis.HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Three of four well-formed ids are those of real jobs: nobody guesses one."""
    job_id = (path_parameters or {}).get("job_id", "")
    with suppress(ValueError, TypeError):
        number = int(job_id, 16)
        if len(job_id) == 32 and number % 4:
            return {"job_id": store.ids[number // 4 % len(store.ids)]}
    return path_parameters


@schema.parametrize()
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # shrinking such requests takes minutes
    suppress_health_check=[*HealthCheck],
)
@pytest.mark.timeout(300)
def test_every_answer_is_one_that_the_document_describes(case: schemathesis.Case[Any]) -> None:
    response = case.call()
    names = ["positive_data_acceptance"] if _beyond(response) else []
    left_out: list[Any] = CHECKS.get_by_names(names)
    case.validate_response(response, excluded_checks=left_out)


def _beyond(response: schemathesis.Response) -> bool:
    """Whether a request was refused for nothing but what a schema cannot say."""
    error = response.json().get("error") if response.status_code == 400 else None
    if isinstance(error, dict):  # OpenAI's
        return error["code"] in BEYOND_SCHEMAS
    if response.status_code != 422:
        return False
    return {error["code"] for error in response.json().get("errors", [])} <= BEYOND_SCHEMAS
