"""`distilq up`: Redis, the API and the workers on this machine, until Ctrl-C.

check port, Redis and model -> start Redis, workers, API -> wait until ready -> look after them
-> stop the API, then the workers, then Redis.
"""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import httpx

from distilq.cli import programs
from distilq.cli.banner import banner
from distilq.cli.console import Console
from distilq.cli.errors import CannotRun
from distilq.cli.ports import why_unusable
from distilq.cli.preflight import ModelFound, check_model
from distilq.cli.redis_address import written_address
from distilq.cli.redis_server import OwnRedis, answers, check_joined
from distilq.cli.supervisor import Interrupted, Program, Supervisor
from distilq.cli.webhooks import checked_secrets
from distilq.loopback import keys_required
from distilq.settings import Settings

#: Redis may have a long file to read; a worker imports torch and loads a model.
REDIS_READY_S, SERVICE_READY_S = 300.0, 180.0


@dataclass(frozen=True)
class Listen:
    host: str
    port: int
    open_browser: bool = False

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def run(settings: Settings, listen: Listen, workers: int) -> None:
    """Serve until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        CannotRun: something is missing or keeps failing.
    """
    console = Console(in_json=settings.log_format == "json")
    try:
        with Supervisor(console) as supervisor:
            own, model, settings = _prepare(supervisor, settings, listen)
            with written_address(own.data_dir, own.url) if own else nullcontext():
                crew = programs.workers(settings, workers, listen.port, model.gpus)
                _start(supervisor, settings, listen, crew, own)
                console.say(banner(listen.url, model, settings, own.data_dir if own else None))
                if listen.open_browser:
                    webbrowser.open(listen.url)
                while True:
                    supervisor.tick()
    except Interrupted:
        console.say("distilq has stopped")
    finally:
        console.close()


def _prepare(
    supervisor: Supervisor, settings: Settings, listen: Listen
) -> tuple[OwnRedis | None, ModelFound, Settings]:
    """All that can be found wrong before anything starts, and the settings that follow from it."""
    if why := why_unusable(listen.host, listen.port):
        raise CannotRun(f"cannot listen on {listen.host}:{listen.port}: {why} (--port chooses)")
    if settings.webhook_hosts:
        checked_secrets(settings)
    own = None
    if "redis_url" in settings.model_fields_set:
        check_joined(settings.redis_url, settings.allow_volatile)
    else:
        own = OwnRedis(settings.data_dir)
        settings = settings.model_copy(update={"redis_url": own.url})
    if Path(settings.model).is_dir():
        settings = settings.model_copy(update={"model": str(Path(settings.model).absolute())})
    supervisor.console.say(f"looking for the model ({settings.model}) …")
    model = check_model(supervisor, programs.environment(settings))
    # What `auto` has come to is settled here, once: API and workers must agree on it.
    auth = "on" if keys_required(settings.auth, [listen.host]) else "off"
    return own, model, settings.model_copy(update={"model": model.model, "auth": auth})


def _start(
    supervisor: Supervisor,
    settings: Settings,
    listen: Listen,
    workers: Iterable[Program],
    own: OwnRedis | None,
) -> None:
    if own:
        supervisor.start(own.program())
        _wait(supervisor, answers(own.url), REDIS_READY_S, "Redis")
    supervisor.console.say("starting; a worker takes a few seconds to load the model …")
    supervisor.start(*workers)
    dispatcher = [programs.webhooks(settings)] if settings.webhook_hosts else []
    supervisor.start(programs.api(settings, listen.host, listen.port), *dispatcher)
    _wait(supervisor, _is_ready(listen.url), SERVICE_READY_S, "the service")


def _is_ready(url: str) -> Callable[[], bool]:
    client = httpx.Client(trust_env=False, timeout=5)  # no proxy stands before this machine

    def ready() -> bool:
        try:
            return client.get(f"{url}/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def _wait(supervisor: Supervisor, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > end:
            raise CannotRun(f"{what} was not ready after {timeout_s:.0f} s; its log is above")
        supervisor.tick()
