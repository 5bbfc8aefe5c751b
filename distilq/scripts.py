"""The Lua scripts beside this file, ready to call."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from redis.commands.core import Script
from redis.exceptions import NoScriptError

from distilq.connection import RedisClient

NAMES = (
    "batch_cancel",
    "batch_claim",
    "batch_create",
    "batch_write",
    "beat",
    "cancel",
    "claim",
    "commit",
    "delete",
    "emit",
    "end_webhook",
    "expire",
    "finish",
    "pause",
    "purge",
    "rate",
    "redeliver",
    "release",
    "renew",
    "resume",
    "sample",
    "stage",
    "submit",
    "sweep",
    "take_webhooks",
    "watch",
)


def call_many(
    redis: RedisClient, script: Script, calls: Sequence[Sequence[str | int]]
) -> list[Any]:
    """What the script returns for each list of arguments, or the error; in one pipeline.

    Raises:
        redis.RedisError: the pipeline failed.
    """
    pipe = redis.pipeline(transaction=False)
    for args in calls:
        pipe.execute_command("EVALSHA", script.sha, 0, *args)
    answers: list[Any] = pipe.execute(raise_on_error=False)
    # Redis has been started anew and knows no scripts: the call for one loads it.
    return [
        script(args=args) if isinstance(answer, NoScriptError) else answer
        for args, answer in zip(calls, answers, strict=True)
    ]


class Scripts:
    """Each script as an attribute: `scripts.submit(keys=[…], args=[…])`.

    redis-py sends the text again when the server has forgotten it (NOSCRIPT after a restart).
    """

    batch_cancel: Script
    batch_claim: Script
    batch_create: Script
    batch_write: Script
    beat: Script
    cancel: Script
    claim: Script
    commit: Script
    delete: Script
    emit: Script
    end_webhook: Script
    expire: Script
    finish: Script
    pause: Script
    purge: Script
    rate: Script
    redeliver: Script
    release: Script
    renew: Script
    resume: Script
    sample: Script
    stage: Script
    submit: Script
    sweep: Script
    take_webhooks: Script
    watch: Script

    def __init__(self, redis: RedisClient) -> None:
        folder = files("distilq.lua")
        common = "".join((folder / f"_{name}.lua").read_text() for name in ("common", "queue"))
        for name in NAMES:
            text = common + (folder / f"{name}.lua").read_text()
            setattr(self, name, redis.register_script(text))
