"""One POST to a receiver: its name resolved once, the addresses checked, one of these connected to.

The connection is made to an address that was checked, never to the name, so what the name says a
moment later makes no difference. TLS is verified against the name. Redirects are answers like
others, proxies of the environment are not asked, the body of an answer is not read.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import anyio
import httpcore
import httpx

from distilq.deliveries import Trouble
from distilq.webhooks.addresses import is_public
from distilq.webhooks.rules import Rules

#: Seconds for all of an attempt; for one address to accept a connection, so that the next one of a
#: host still has its chance.
ATTEMPT_S, CONNECT_S = 15.0, 5.0

#: Names that are resolved at once, each in a thread: as many as are under way, or hosts whose name
#: servers hang would use up the time of those whose do not.
RESOLVED_AT_ONCE = 64

#: Host and port -> its IP addresses.
Resolve = Callable[[str, int], Awaitable[list[str]]]

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


@dataclass(frozen=True)
class Answer:
    """What came of an attempt: a status, or the trouble for which there is none."""

    at_ms: int
    duration_ms: int
    status: int | None = None
    trouble: Trouble | None = None
    retry_after: str = ""


class Refused(Exception):
    """Nothing is sent, because of this."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble)
        self.trouble: Trouble = trouble


class Sender:
    """Sends to hosts that the rules allow."""

    def __init__(self, rules: Rules, resolve: Resolve | None = None) -> None:
        self._rules = rules
        backend = CheckedBackend(rules.allow_private, resolve or system_resolver())
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=backend,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Whatever happens, within ATTEMPT_S it is an answer."""
        at_ms, begun = round(time.time() * 1000), time.monotonic()
        status, retry_after, trouble = None, "", None
        try:
            with anyio.fail_after(ATTEMPT_S):
                status, retry_after = await self._post(url, headers, body)
        except Exception as error:  # a receiver can break any rule there is
            trouble = trouble_of(error)
        took_ms = round((time.monotonic() - begun) * 1000)
        return Answer(at_ms, took_ms, status, trouble, retry_after)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        if self._rules.refusal(url):
            raise Refused("host_not_allowed")
        async with self._pool.stream(
            "POST", _target(url), headers=[*headers.items()], content=body
        ) as response:
            found = {name.lower(): value for name, value in response.headers}
            return response.status, found.get(b"retry-after", b"").decode("latin-1")


def _target(url: str) -> httpcore.URL:
    """The address in the parts that the rules have seen, so that nobody reads it in another way."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = (parts.hostname or "").encode()
    return httpcore.URL(
        scheme=parts.scheme.encode(), host=host, port=parts.port, target=path.encode()
    )


def trouble_of(error: BaseException) -> Trouble:
    """The category of what went wrong: all that is told of it, as it may be of inner networks."""
    if isinstance(error, Refused):
        return error.trouble
    if isinstance(error, (TimeoutError, httpcore.TimeoutException)):
        return "timed_out"
    if isinstance(error, httpcore.ConnectError):
        tls = isinstance(error.__cause__ or error.__context__, ssl.SSLError)
        return "tls_failed" if tls else "not_connected"
    return "no_answer"


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves and checks by itself, and leaves only addresses to who connects."""

    def __init__(self, allow_private: bool, resolve: Resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failed: Exception = Refused("name_not_resolved")
        for address in await self._addresses(host, port):
            try:
                return await self._inner.connect_tcp(address, port, CONNECT_S, local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError):
            raise Refused("name_not_resolved") from None
        # One that is wrong among good ones is no accident.
        if not self._allow_private and not all(map(is_public, found)):
            raise Refused("address_not_allowed")
        return found

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


def system_resolver() -> Resolve:
    """Names as this machine resolves them, in threads of its own."""
    limiter = anyio.CapacityLimiter(RESOLVED_AT_ONCE)

    def look_up(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def resolve(host: str, port: int) -> list[str]:
        return await anyio.to_thread.run_sync(
            look_up, host, port, limiter=limiter, abandon_on_cancel=True
        )

    return resolve
