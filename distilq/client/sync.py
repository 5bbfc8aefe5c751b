"""The client for programs that block."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
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
from .sync_driver import Driver

T = TypeVar("T")


class Client:
    """distilq over HTTP; safe to share between threads.

    `base_url` is DISTILQ_URL or http://127.0.0.1:8000 by default, `api_key` DISTILQ_API_KEY.
    `timeout` is the seconds of silence after which the service counts as away, beyond what it
    waits on purpose. A request that fails for a reason that passes is sent `retries` times more,
    after pauses that grow from 0.5 s to 8 s at most, or as long as the service asks for, up to
    120 s; nothing is submitted twice by that. Proxies are taken from the environment, unless there
    is a `transport`.

    Every method raises `distilq.errors.DistilqError`: the class of the service's problem, or one of
    `distilq.client.errors`.

    Raises:
        ValueError: `base_url` is no address, or `api_key` cannot be one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        retries: int = 5,
        headers: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            **settings(base_url, api_key, timeout, headers), transport=transport
        )
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def generate(
        self,
        inputs: Inputs,
        *,
        timeout: float | None = 120.0,
        priority: PriorityName = "interactive",
        cancel_on_timeout: bool = True,
        **parameters: Unpack[Generation],
    ) -> Result:
        """Submit a job and wait for its texts, `timeout` seconds at most (None: without end).

        Interrupted, by Ctrl-C say, it cancels the job.

        Raises:
            InvalidParameters: of the fields in its `errors`.
            JobError: the job ended without its texts: PromptTooLong, TimedOut, Canceled, …
            WaitTimedOut: they did not come in time; the job is canceled if `cancel_on_timeout`.
        """
        body = job_request(inputs, parameters, priority=priority)
        flow = jobs.generate(body, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return self._run(flow)

    def submit(
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
    ) -> JobHandle:
        """Submit a job, and do not wait for it.

        `timeout_s`: seconds it may run; `start_within_s`: seconds it may be queued; `result_ttl_s`:
        seconds its texts are kept. With `stream` it tells of every token; a `webhook`, as in
        `{"url": "https://…"}`, is told of its end. An `idempotency_key` is for a caller who may
        submit the same again later: both are one job then, for a day.

        Raises:
            InvalidParameters: of the fields in its `errors`.
            IdempotencyKeyReused: another request came with this key before.
            Unavailable: QueueFull, OwnerFull, RateLimited, …, still after all retries.
        """
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
        return self.job(self._run(jobs.submit(body, idempotency_key, self._retries)).id)

    def submit_many(
        self,
        requests: Iterable[Inputs | Mapping[str, Any]],
        *,
        priority: PriorityName = "normal",
        idempotency_key: str | None = None,
        **parameters: Unpack[Generation],
    ) -> list[JobHandle]:
        """Submit up to 10,000 jobs at once, all or none; `map` takes any number.

        A request is a prompt, or the body of a `POST /v1/jobs`, whose own fields go before
        `priority` and `parameters`. Raises as `submit` does, with pointers like `#/jobs/3/inputs`.
        """
        bodies = requests_of(requests, parameters, priority=priority)
        ids = self._run(many.submit_many(many.batch(bodies, idempotency_key), self._retries))
        return [self.job(job_id) for job_id in ids]

    def map(
        self,
        prompts: Iterable[Inputs | Mapping[str, Any]],
        *,
        in_flight: int = 256,
        ordered: bool = True,
        progress: bool = False,
        return_errors: bool = False,
        priority: PriorityName = "bulk",
        timeout_s: float | None = None,
        result_ttl_s: int | None = None,
        **parameters: Unpack[Generation],
    ) -> Generator[Mapped, None, None]:
        """The outcome of each of any number of prompts, in their order or, without, as they end.

        `prompts` is read as far as needed: at most `in_flight` of them are taken and not given
        back. Each is a prompt, or the body of a `POST /v1/jobs`, as for `submit_many`. While the
        service is full, it goes on slowly. With `progress` there is a bar on standard error. Jobs
        that are under way when the iterator is closed, or fails, are canceled.

        Raises:
            ValueError: `in_flight` is below 1.
            DistilqError: the first error of a prompt, unless `return_errors`: then it is in the
                outcome; and whatever hits all of them, such as ConnectionFailed.
        """
        check_several(prompts)
        check_in_flight(in_flight)

        def body(item: Inputs | Mapping[str, Any]) -> dict[str, Any]:
            options = {"priority": priority, "timeout_s": timeout_s, "result_ttl_s": result_ttl_s}
            return request_of(item, parameters, **options)

        kept = Map(body, in_flight, self._retries, ordered=ordered, return_errors=return_errors)
        flow = kept.outcomes(bar(prompts, shown=progress))
        return Driver(self._http, flow, prompts).items()

    def batch(
        self,
        file: str | PathLike[str],
        *,
        endpoint: Endpoint = "/v1/completions",
        completion_window: str = "24h",
        metadata: Mapping[str, str] | None = None,
    ) -> BatchHandle:
        """Upload a file of requests, one JSON object per line, and have it worked through.

        A line is `{"custom_id", "method": "POST", "url": endpoint, "body"}`. The file is read into
        memory: the service takes 50,000 lines and 100 MiB at most.

        Raises:
            OSError: the file cannot be read.
            PayloadTooLarge: it is larger than the service takes.
            InvalidParameters: of the fields in its `errors`.
        """
        asked = {"endpoint": endpoint, "completion_window": completion_window}
        flow = batches.begin(Path(file), {**asked, "metadata": metadata}, self._retries)
        return self.batch_of(self._run(flow))

    def batch_of(self, batch_id: str) -> BatchHandle:
        """The handle of a batch that was begun before; asks the service nothing."""
        return BatchHandle(self, batch_id)

    def job(self, job_id: str) -> JobHandle:
        """The handle of a job that was submitted before; asks the service nothing."""
        return JobHandle(self, job_id)

    def jobs(self, status: JobStatus | str | None = None) -> Generator[Job, None, None]:
        """All jobs, or those with a status, the newest first; fetched as far as they are read.

        Raises:
            ValueError: there is no such status.
        """
        wanted = None if status is None else JobStatus(status)
        return Driver(self._http, many.jobs(wanted, self._retries)).items()

    def statuses(self, job_ids: Iterable[str]) -> list[Job | MissingJob]:
        """One entry per id, in their order: the job, or that it is unknown or gone."""
        return self._run(many.statuses(job_ids, self._retries))

    def info(self) -> Info:
        """Version, model, limits."""
        return self._run(many.fetch(Info, "/v1/info", self._retries))

    def queue(self) -> QueueState:
        """How much is queued."""
        return self._run(many.fetch(QueueState, "/v1/queue", self._retries))

    def stats(self) -> Stats:
        """The last hour: a point every ten seconds, and quantiles."""
        return self._run(many.fetch(Stats, "/v1/stats", self._retries))

    def workers(self) -> list[WorkerState]:
        """Those that are alive."""
        return self._run(many.workers(self._retries))

    def drain_worker(self, worker_id: str) -> WorkerState:
        """Let a worker end what it holds and take no more jobs, until it is resumed.

        Raises:
            WorkerNotFound: it is not alive.
            Forbidden: the key lacks the scope admin.
        """
        return self._run(operators.worker(worker_id, "drain", self._retries))

    def resume_worker(self, worker_id: str) -> WorkerState:
        """Let a worker take jobs again.

        Raises:
            WorkerNotFound: it is not alive.
            Forbidden: the key lacks the scope admin.
        """
        return self._run(operators.worker(worker_id, "resume", self._retries))

    def dead(self, *, with_texts: bool = False) -> Generator[DeadSummary, None, None]:
        """The dead list, the newest first; with the prompts if `with_texts`.

        Raises:
            Forbidden: the key lacks the scope admin.
        """
        return Driver(self._http, operators.dead(self._retries, with_texts=with_texts)).items()

    def requeue_dead(self, entry_id: str) -> Job:
        """Submit the request of an entry anew, as its owner's; the new job.

        Raises:
            NotOnDeadList, NotRequeueable, Forbidden.
        """
        return self._run(operators.requeue(entry_id, self._retries))

    def drop_dead(self, entry_id: str) -> None:
        """Forget an entry of the dead list.

        Raises:
            NotOnDeadList, Forbidden.
        """
        self._run(operators.drop(entry_id, self._retries))

    def me(self) -> Me:
        """What this key may do."""
        return self._run(operators.me(self._retries))

    def _run(self, flow: Flow[T]) -> T:
        result: T = Driver(self._http, flow).result()
        return result


class JobHandle:
    """A job of the service. Its methods raise JobNotFound, JobGone, and what every method does."""

    def __init__(self, client: Client, job_id: str) -> None:
        self.id = job_id
        self._client = client
        self._retries = client._retries

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r})"

    def status(self) -> Job:
        """How it stands now."""
        return self._client._run(jobs.status(self.id, self._retries))

    def wait(self, timeout: float | None = None, *, cancel_on_timeout: bool = False) -> Job:
        """The job once it is final, however it ended.

        Raises:
            WaitTimedOut: it is not final after `timeout` seconds.
        """
        flow = jobs.wait(self.id, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return self._client._run(flow)

    def result(self, timeout: float | None = None, *, cancel_on_timeout: bool = False) -> Result:
        """Its texts, once they are there.

        Raises:
            JobError: it ended without them: PromptTooLong, TimedOut, Canceled, …
            WaitTimedOut: it is not final after `timeout` seconds.
        """
        flow = jobs.result(self.id, timeout, self._retries, cancel_on_timeout=cancel_on_timeout)
        return self._client._run(flow)

    def stream(self) -> Generator[Event, None, None]:
        """What happens to it, as it happens, from its first token on; the last is a DoneEvent.

        It goes on where it was when a connection is lost. A StatusEvent with `restarted` says that
        all tokens before it are void. Without `stream` at its submission there are no tokens.
        Closing the iterator does not cancel the job.

        Raises:
            JobError: it ended without its texts.
            ConnectionFailed: connections were lost again and again, without anything new.
        """
        flow = Following(self.id, self._retries).events()
        return Driver(self._client._http, flow).items()

    def cancel(self) -> Job:
        """Cancel it, unless it has ended. One that runs is `canceling` for a few steps."""
        return self._client._run(jobs.cancel(self.id, self._retries))

    def timeline(self) -> Timeline:
        """What has happened to it, and which workers had it."""
        return self._client._run(jobs.timeline(self.id, self._retries))

    def request(self) -> dict[str, Any]:
        """What was submitted, as a body of `POST /v1/jobs`, without its webhook."""
        return self._client._run(jobs.request(self.id, self._retries))

    def delete(self) -> None:
        """Forget its texts.

        Raises:
            JobNotFinished: it has not ended.
        """
        self._client._run(jobs.delete(self.id, self._retries))


class BatchHandle:
    """A batch of the service. Its methods raise BatchNotFound, and what every method does."""

    def __init__(self, client: Client, batch_id: str) -> None:
        self.id = batch_id
        self._client = client
        self._retries = client._retries

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r})"

    def status(self) -> BatchState:
        """How it stands now, with its counts."""
        return self._client._run(batches.status(self.id, self._retries))

    def wait(self, timeout: float | None = None) -> BatchState:
        """The batch once it has ended, however it did.

        Raises:
            WaitTimedOut: it goes on after `timeout` seconds.
        """
        return self._client._run(batches.wait(self.id, timeout, self._retries))

    def rows(
        self, *, order: Order = "input", follow: bool = True
    ) -> Generator[dict[str, Any], None, None]:
        """Its rows, of output and errors alike, as they come; without `follow` those there are.

        In the order of the input a row waits for those of the lines before it.
        """
        flow = batches.rows(self.id, order, self._retries, follow=follow)
        return Driver(self._client._http, flow).items()

    def cancel(self) -> BatchState:
        """Stop it, unless it has ended; what it has answered stays."""
        return self._client._run(batches.cancel(self.id, self._retries))
