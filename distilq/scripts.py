"""The Lua scripts beside this file, ready to call."""

from __future__ import annotations

from importlib.resources import files

from redis.commands.core import Script

from distilq.connection import RedisClient

NAMES = (
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
    "stage",
    "submit",
    "sweep",
    "take_webhooks",
    "watch",
)


class Scripts:
    """Each script as an attribute: `scripts.submit(keys=[…], args=[…])`.

    redis-py sends the text again when the server has forgotten it (NOSCRIPT after a restart).
    """

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
