"""Carries out the steps of a flow, blocking."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from time import sleep
from typing import Any

import httpx

from .http import answer_of, built, translated
from .steps import Answer, Flow, Send, Step, Stopped, Take, Tell, Wait


class Driver:
    """One flow, its connection if it reads a stream, and the caller's iterable if it takes one."""

    def __init__(self, http: httpx.Client, flow: Flow[Any], source: Iterable[Any] = ()) -> None:
        self._http = http
        self._flow = flow
        self._source = iter(source)
        self._stream: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def result(self) -> Any:
        """What the flow returns."""
        try:
            return self._proceed(partial(self._flow.send, None))
        finally:
            self._close()

    def items(self) -> Generator[Any, None, None]:
        """What the flow tells."""
        try:
            while isinstance(told := self._proceed(partial(self._flow.send, None)), Tell):
                yield told.item
        except GeneratorExit:
            with suppress(Stopped):
                self._proceed(partial(self._flow.throw, Stopped()))
            raise
        finally:
            self._close()

    def _proceed(self, go: Callable[[], Step]) -> Any:
        """The next `Tell`, or what the flow returns at its end."""
        while True:
            try:
                step = go()
            except StopIteration as end:
                return end.value
            if isinstance(step, Tell):
                return step
            try:
                go = partial(self._flow.send, self._done(step))
            except BaseException as error:  # an interrupt too: the flow has to clean up
                go = partial(self._flow.throw, error)

    def _done(self, step: Step) -> Any:
        if isinstance(step, Wait):
            return sleep(step.seconds)
        if isinstance(step, Take):
            return list(islice(self._source, step.items))
        with translated(self._http):
            return self._sent(step) if isinstance(step, Send) else next(self._pieces, b"")

    def _sent(self, step: Send) -> Answer:
        self._close()
        response = self._http.send(built(self._http, step), stream=step.streamed)
        if not step.streamed:
            return answer_of(response, response.content)
        self._stream = response
        if not response.is_success:
            return answer_of(response, response.read())
        self._pieces = response.iter_bytes()
        return answer_of(response)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
