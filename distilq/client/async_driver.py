"""Carries out the steps of a flow, in an event loop.

A scope of anyio that is canceled cancels every await in it, so cleaning up is shielded from it.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
from anyio import CancelScope

from .http import answer_of, built, translated
from .steps import Answer, Flow, Send, Step, Stopped, Take, Tell, Wait

Source = AsyncIterable[Any] | Iterable[Any]


class AsyncDriver:
    """One flow, its connection if it reads a stream, and the caller's iterable if it takes one."""

    def __init__(self, http: httpx.AsyncClient, flow: Flow[Any], source: Source = ()) -> None:
        self._http = http
        self._flow = flow
        self._source = _iterated(source)
        self._stream: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] = _iterated(())

    async def result(self) -> Any:
        """What the flow returns."""
        try:
            return await self._proceed(partial(self._flow.send, None))
        finally:
            await self._close()

    async def items(self) -> AsyncGenerator[Any, None]:
        """What the flow tells."""
        try:
            while isinstance(told := await self._proceed(partial(self._flow.send, None)), Tell):
                yield told.item
        except GeneratorExit:
            with CancelScope(shield=True), suppress(Stopped):
                await self._proceed(partial(self._flow.throw, Stopped()))
            raise
        finally:
            await self._close()

    async def _proceed(self, go: Callable[[], Step]) -> Any:
        """The next `Tell`, or what the flow returns at its end."""
        while True:
            try:
                step = go()
            except StopIteration as end:
                return end.value
            if isinstance(step, Tell):
                return step
            try:
                go = partial(self._flow.send, await self._done(step))
            except Exception as error:
                go = partial(self._flow.throw, error)
            except BaseException as error:  # a cancellation: the flow has to clean up
                with CancelScope(shield=True):
                    return await self._proceed(partial(self._flow.throw, error))

    async def _done(self, step: Step) -> Any:
        if isinstance(step, Wait):
            return await sleep(step.seconds)
        if isinstance(step, Take):
            return [item async for item in _first(self._source, step.items)]
        with translated(self._http):
            return await self._sent(step) if isinstance(step, Send) else await self._read()

    async def _sent(self, step: Send) -> Answer:
        await self._close()
        response = await self._http.send(built(self._http, step), stream=step.streamed)
        if not step.streamed:
            return answer_of(response, response.content)
        self._stream = response
        if not response.is_success:
            return answer_of(response, await response.aread())
        self._pieces = response.aiter_bytes()
        return answer_of(response)

    async def _read(self) -> bytes:
        return await anext(self._pieces, b"")

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.aclose()
            self._stream = None


async def _iterated(source: Source) -> AsyncIterator[Any]:
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


async def _first(source: AsyncIterator[Any], items: int) -> AsyncIterator[Any]:
    """As itertools.islice; what is behind stays there."""
    while items > 0:
        try:
            yield await anext(source)
        except StopAsyncIteration:
            return
        items -= 1
