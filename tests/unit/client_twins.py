"""`Client` and `AsyncClient` over an API in memory, driven by the same tests."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from distilq.client import AsyncClient, Client
from distilq.settings import Settings
from distilq.testing import MemoryRing, MemoryStore

Handler = Callable[[httpx.Request], httpx.Response]
Fault = Callable[[httpx.Request, Handler], httpx.Response]


def api(store: MemoryStore, ring: MemoryRing | None = None, **settings: Any) -> httpx.BaseTransport:
    """What sends requests to an API over `store`."""
    app = create_app(Settings(auth="on" if ring else "off", **settings), store, ring)
    return httpx.WSGITransport(app=app)


def worked(store: MemoryStore, end: Callable[[MemoryStore, str], Any]) -> MemoryStore:
    """The store; whoever waits for a job of it that is not final has it ended by `end`."""

    def work(job_id: str) -> None:
        if not store.get(job_id).status.final:
            end(store, job_id)

    store.on_wait = work
    return store


class Threaded(httpx.AsyncBaseTransport):
    """A transport that blocks, for an event loop."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        response = await asyncio.to_thread(self._transport.handle_request, request)
        assert isinstance(response.stream, httpx.SyncByteStream)
        response.stream = Pieces(response.stream)
        return response


class Pieces(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._stream)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece

    async def aclose(self) -> None:
        self._stream.close()


class Awaited:
    """Something asynchronous whose every method is waited for: it looks like its twin."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Any) -> None:
        self._loop, self._inner = loop, inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not inspect.ismethod(found):
            return found
        return lambda *args, **kwargs: self._waited(found(*args, **kwargs))

    def _waited(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            value = self._loop.run_until_complete(value)
        if isinstance(value, list):
            return [self._waited(each) for each in value]
        if inspect.isasyncgen(value):
            return self._iterated(value)
        return (
            Awaited(self._loop, value)
            if hasattr(value, "cancel") and hasattr(value, "wait")
            else value
        )

    def _iterated(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(items))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(items.aclose())


class Twins:
    """Makes clients of one kind, and closes them."""

    def __init__(self, kind: str) -> None:
        self._loop = asyncio.new_event_loop() if kind == "async" else None
        self.kind = kind
        self._made: list[Any] = []

    def client(self, transport: httpx.BaseTransport, **options: Any) -> Any:
        made: Any
        if self._loop is None:
            made = Client(transport=transport, **options)
        else:
            made = Awaited(self._loop, AsyncClient(transport=Threaded(transport), **options))
        self._made.append(made)
        return made

    def close(self) -> None:
        for made in self._made:
            made.close()
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


class Faulty(httpx.BaseTransport):
    """Sends requests on, but lets faults happen to the first of them; remembers them all."""

    def __init__(self, transport: httpx.BaseTransport, *faults: Fault | None) -> None:
        self._transport = transport
        self._faults = list(faults)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fault = self._faults.pop(0) if self._faults else None
        if fault is None:
            return self._transport.handle_request(request)
        return fault(request, self._transport.handle_request)

    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def refused(request: httpx.Request, proceed: Handler) -> httpx.Response:
    raise httpx.ConnectError("Connection refused", request=request)


def lost(request: httpx.Request, proceed: Handler) -> httpx.Response:
    """The service has done it, but its answer does not arrive."""
    proceed(request)
    raise httpx.ReadError("Connection reset by peer", request=request)


def silent(request: httpx.Request, proceed: Handler) -> httpx.Response:
    proceed(request)
    raise httpx.ReadTimeout("timed out", request=request)


def answers(status: int, **options: Any) -> Fault:
    return lambda request, proceed: httpx.Response(status, request=request, **options)


def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Clients do not pause; their clock goes on all the same. The seconds of every pause."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr("distilq.client.sync_driver.sleep", made.append)
    monkeypatch.setattr("distilq.client.async_driver.sleep", sleep)
    monkeypatch.setattr("distilq.client.retries.monotonic", lambda: time.monotonic() + sum(made))
    return made
