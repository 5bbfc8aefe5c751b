"""The command lines and environments of the API and the workers."""

from __future__ import annotations

import os
import sys

from distilq.cli.supervisor import Program
from distilq.settings import SECRETS_DIR, Settings

#: Seconds in which the API ends what it is answering; with the workers' 30 + 2 and Redis' 5: 45 s.
API_STOP_S = 8.0
#: Seconds a worker has beyond its drain time to say goodbye.
GOODBYE_S = 2.0


WEBHOOK_SECRETS = "DISTILQ_WEBHOOK_SECRETS"
#: CUDA's own: which GPUs a process sees, by number or by id. A worker uses the first.
VISIBLE = "CUDA_VISIBLE_DEVICES"


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment with `settings` written out as DISTILQ_* variables.

    But for the secrets of webhooks, which are their dispatcher's alone, and for the directory that
    they may have come from.
    """
    variables = {
        f"DISTILQ_{name.upper()}": str(getattr(settings, name)) for name in Settings.model_fields
    }
    found = {**os.environ, **variables, "PYTHONUNBUFFERED": "1", SECRETS_DIR: ""}
    del found[WEBHOOK_SECRETS]
    return found


def api(settings: Settings, host: str, port: int) -> Program:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    command = [
        *(sys.executable, "-m", "gunicorn", "-c", "python:distilq.api.gunicorn_conf"),
        *("distilq.api.wsgi:app", "-b", address, "--log-level", "warning"),
    ]
    # glibc's heaps, of which it would have eight per core: what one thread frees no other reuses.
    env = {"MALLOC_ARENA_MAX": "2", **environment(settings)}
    return Program("api", command, env, API_STOP_S)


def worker(settings: Settings, number: int, of: int, port: int, gpus: int = 0) -> Program:
    """Worker `number` of `of` on this machine; `port` tells apart two `distilq up` of one Redis."""
    env = environment(settings)
    if gpus > 1:
        env[VISIBLE] = _gpu(number, gpus)
    env["CELERY_CUSTOM_WORKER_POOL"] = "distilq.worker.pool:EnginePool"
    # Celery warns root of itself and recommends an option that is not the user's to give here.
    env["PYTHONWARNINGS"] = "ignore:You're running the worker with superuser privileges"
    if not settings.threads:
        env["DISTILQ_THREADS"] = str(max(1, (os.cpu_count() or 1) // of))
    command = [
        *(sys.executable, "-m", "celery", "-q", "-A", "distilq.worker.app", "worker"),
        *("--pool=custom", "--loglevel=WARNING", "--without-gossip", "--without-mingle"),
        *("-n", f"distilq-{number}-{port}@%h"),
    ]
    return Program(f"worker-{number}", command, env, settings.drain_s + GOODBYE_S)


def workers(settings: Settings, of: int, port: int, gpus: int) -> list[Program]:
    """All of this machine, which has `gpus` GPUs."""
    return [worker(settings, number, of, port, gpus) for number in range(1, of + 1)]


def _gpu(number: int, gpus: int) -> str:
    """The one that worker `number` is to see: in turn, of those that this process sees."""
    seen = os.environ.get(VISIBLE) or ",".join(map(str, range(gpus)))
    return seen.split(",")[(number - 1) % gpus]


def webhooks(settings: Settings) -> Program:
    """The dispatcher, which stops with the API: what it has not told by then waits in Redis."""
    secrets = {WEBHOOK_SECRETS: settings.webhook_secrets.get_secret_value()}
    command = [sys.executable, "-m", "distilq.cli", "webhooks", "run"]
    return Program("webhooks", command, environment(settings) | secrets, API_STOP_S)
