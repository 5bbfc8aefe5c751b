"""The client for event loops: `sync.py` again, of which every docstring holds here too."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx
from typing_extensions import Self, Unpack

from distilq.cluster import Info, MissingJob, QueueState, WorkerState
from distilq.deaths import DeadSummary
from distilq.jobs import Job, JobStatus
from distilq.stats import Stats
from distilq.timeline import Timeline

from . import batches, jobs, many, operators
from .async_driver import AsyncDriver
from .batches import BatchState, Endpoint, Order
from .events import Event, Following
from .http import settings
from .mapping import Map, check_in_flight
from .operators import Me
from .options import (
    Generation,
    Inputs,
    PriorityName,
    check_several,
    job_request,
    request_of,
    requests_of,
)
from .progress import bar
from .results import Mapped, Result
from .steps import Flow

T = TypeVar("T")


class AsyncClient:
    """distilq over HTTP; for one event loop."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            **settings(base_url, api_key, timeout, headers), transport=transport
        )
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def generate(
        self,
        inputs: Inputs,
        *,
        timeout: float | None = 120.0,
        priority: PriorityName = "interactive",
        cancel_on_timeout: bool = True,
        **parameters: Unpack[Generation],
    ) -> Result:
        """Submit a job and wait for its texts, `timeout` seconds at most (None: without end)."""
        body = job_request(inputs, parameters, priority=priority)
        flow = jobs.generate(body, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return await self._run(flow)

    async def submit(
        self,
        inputs: Inputs,
        *,
        priority: PriorityName = "normal",
        stream: bool = False,
        timeout_s: float | None = None,
        start_within_s: float | None = None,
        result_ttl_s: int | None = None,
        metadata: Mapping[str, str] | None = None,
        webhook: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        **parameters: Unpack[Generation],
    ) -> AsyncJobHandle:
        """Submit a job, and do not wait for it."""
        body = job_request(
            inputs,
            parameters,
            priority=priority,
            stream=stream,
            timeout_s=timeout_s,
            start_within_s=start_within_s,
            result_ttl_s=result_ttl_s,
            metadata=metadata,
            webhook=webhook,
        )
        job = await self._run(jobs.submit(body, idempotency_key, self._retries))
        return self.job(job.id)

    async def submit_many(
        self,
        requests: Iterable[Inputs | Mapping[str, Any]],
        *,
        priority: PriorityName = "normal",
        idempotency_key: str | None = None,
        **parameters: Unpack[Generation],
    ) -> list[AsyncJobHandle]:
        """Submit up to 10,000 jobs at once, all or none; `map` takes any number."""
        bodies = requests_of(requests, parameters, priority=priority)
        ids = await self._run(many.submit_many(many.batch(bodies, idempotency_key), self._retries))
        return [self.job(job_id) for job_id in ids]

    def map(
        self,
        prompts: (AsyncIterable[Inputs | Mapping[str, Any]] | Iterable[Inputs | Mapping[str, Any]]),
        *,
        in_flight: int = 256,
        ordered: bool = True,
        progress: bool = False,
        return_errors: bool = False,
        priority: PriorityName = "bulk",
        timeout_s: float | None = None,
        result_ttl_s: int | None = None,
        **parameters: Unpack[Generation],
    ) -> AsyncGenerator[Mapped, None]:
        """The outcome of each of any number of prompts, in their order or, without, as they end."""
        check_several(prompts)
        check_in_flight(in_flight)

        def body(item: Inputs | Mapping[str, Any]) -> dict[str, Any]:
            options = {"priority": priority, "timeout_s": timeout_s, "result_ttl_s": result_ttl_s}
            return request_of(item, parameters, **options)

        kept = Map(body, in_flight, self._retries, ordered=ordered, return_errors=return_errors)
        flow = kept.outcomes(bar(prompts, shown=progress))
        return AsyncDriver(self._http, flow, prompts).items()

    async def batch(
        self,
        file: str | PathLike[str],
        *,
        endpoint: Endpoint = "/v1/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncBatchHandle:
        """Upload a file of requests, one JSON object per line, and have it worked through."""
        asked = {"endpoint": endpoint, "completion_window": completion_window}
        flow = batches.begin(Path(file), {**asked, "metadata": metadata}, self._retries)
        return self.batch_of(await self._run(flow))

    def batch_of(self, batch_id: str) -> AsyncBatchHandle:
        """The handle of a batch that was begun before; asks the service nothing."""
        return AsyncBatchHandle(self, batch_id)

    def job(self, job_id: str) -> AsyncJobHandle:
        """The handle of a job that was submitted before; asks the service nothing."""
        return AsyncJobHandle(self, job_id)

    def jobs(self, status: JobStatus | str | None = None) -> AsyncGenerator[Job, None]:
        """All jobs, or those with a status, the newest first; fetched as far as they are read."""
        wanted = None if status is None else JobStatus(status)
        return AsyncDriver(self._http, many.jobs(wanted, self._retries)).items()

    async def statuses(self, job_ids: Iterable[str]) -> list[Job | MissingJob]:
        """One entry per id, in their order: the job, or that it is unknown or gone."""
        return await self._run(many.statuses(job_ids, self._retries))

    async def info(self) -> Info:
        """Version, model, limits."""
        return await self._run(many.fetch(Info, "/v1/info", self._retries))

    async def queue(self) -> QueueState:
        """How much is queued."""
        return await self._run(many.fetch(QueueState, "/v1/queue", self._retries))

    async def stats(self) -> Stats:
        """The last hour: a point every ten seconds, and quantiles."""
        return await self._run(many.fetch(Stats, "/v1/stats", self._retries))

    async def workers(self) -> list[WorkerState]:
        """Those that are alive."""
        return await self._run(many.workers(self._retries))

    async def drain_worker(self, worker_id: str) -> WorkerState:
        """Let a worker end what it holds and take no more jobs, until it is resumed."""
        return await self._run(operators.worker(worker_id, "drain", self._retries))

    async def resume_worker(self, worker_id: str) -> WorkerState:
        """Let a worker take jobs again."""
        return await self._run(operators.worker(worker_id, "resume", self._retries))

    def dead(self, *, with_texts: bool = False) -> AsyncGenerator[DeadSummary, None]:
        """The dead list, the newest first; with the prompts if `with_texts`."""
        return AsyncDriver(self._http, operators.dead(self._retries, with_texts=with_texts)).items()

    async def requeue_dead(self, entry_id: str) -> Job:
        """Submit the request of an entry anew, as its owner's; the new job."""
        return await self._run(operators.requeue(entry_id, self._retries))

    async def drop_dead(self, entry_id: str) -> None:
        """Forget an entry of the dead list."""
        await self._run(operators.drop(entry_id, self._retries))

    async def me(self) -> Me:
        """What this key may do."""
        return await self._run(operators.me(self._retries))

    async def _run(self, flow: Flow[T]) -> T:
        result: T = await AsyncDriver(self._http, flow).result()
        return result


class AsyncJobHandle:
    """A job of the service. Its methods raise JobNotFound, JobGone, and what every method does."""

    def __init__(self, client: AsyncClient, job_id: str) -> None:
        self.id = job_id
        self._client = client
        self._retries = client._retries

    def __repr__(self) -> str:
        return f"AsyncJobHandle({self.id!r})"

    async def status(self) -> Job:
        """How it stands now."""
        return await self._client._run(jobs.status(self.id, self._retries))

    async def wait(self, timeout: float | None = None, *, cancel_on_timeout: bool = False) -> Job:
        """The job once it is final, however it ended."""
        flow = jobs.wait(self.id, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return await self._client._run(flow)

    async def result(
        self, timeout: float | None = None, *, cancel_on_timeout: bool = False
    ) -> Result:
        """Its texts, once they are there."""
        flow = jobs.result(self.id, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return await self._client._run(flow)

    def stream(self) -> AsyncGenerator[Event, None]:
        """What happens to it, as it happens, from its first token on; the last is a DoneEvent."""
        flow = Following(self.id, self._retries).events()
        return AsyncDriver(self._client._http, flow).items()

    async def cancel(self) -> Job:
        """Cancel it, unless it has ended. One that runs is `canceling` for a few steps."""
        return await self._client._run(jobs.cancel(self.id, self._retries))

    async def timeline(self) -> Timeline:
        """What has happened to it, and which workers had it."""
        return await self._client._run(jobs.timeline(self.id, self._retries))

    async def request(self) -> dict[str, Any]:
        """What was submitted, as a body of `POST /v1/jobs`, without its webhook."""
        return await self._client._run(jobs.request(self.id, self._retries))

    async def delete(self) -> None:
        """Forget its texts."""
        await self._client._run(jobs.delete(self.id, self._retries))


class AsyncBatchHandle:
    """A batch of the service. Its methods raise BatchNotFound, and what every method does."""

    def __init__(self, client: AsyncClient, batch_id: str) -> None:
        self.id = batch_id
        self._client = client
        self._retries = client._retries

    def __repr__(self) -> str:
        return f"AsyncBatchHandle({self.id!r})"

    async def status(self) -> BatchState:
        """How it stands now, with its counts."""
        return await self._client._run(batches.status(self.id, self._retries))

    async def wait(self, timeout: float | None = None) -> BatchState:
        """The batch once it has ended, however it did."""
        return await self._client._run(batches.wait(self.id, timeout, self._retries))

    def rows(
        self, *, order: Order = "input", follow: bool = True
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Its rows, of output and errors alike, as they come; without `follow` those there are."""
        flow = batches.rows(self.id, order, self._retries, follow=follow)
        return AsyncDriver(self._client._http, flow).items()

    async def cancel(self) -> BatchState:
        """Stop it, unless it has ended; what it has answered stays."""
        return await self._client._run(batches.cancel(self.id, self._retries))
