"""Redis users for the API, the worker and the dispatcher of webhooks, with what each needs and no
more: `distilq acl`.

Redis 6.2 knows no selectors: every command may be used on every pattern of a user. A script runs
with the rights of who calls it, so those who may load scripts can do no more than without them.
Found with ACL LOG; tests/integration/test_acl.py runs all parts as these users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from distilq import keys

#: What to put the passwords in place of.
API_PASSWORD, WORKER_PASSWORD = "API-PASSWORD", "WORKER-PASSWORD"
WEBHOOKS_PASSWORD = "WEBHOOKS-PASSWORD"  # noqa: S105  # nosec B105

#: Of a connection, of job records, and of the sweep that both do.
COMMON_COMMANDS = (
    *("ping", "info", "time", "evalsha", "script|load", "multi", "exec"),
    *("get", "mget", "set", "del", "exists", "expire", "pexpireat", "publish"),
    *("hget", "hmget", "hgetall", "hset", "hdel", "hincrby"),
    *("lpush", "rpush", "llen", "rpop", "lrange", "lrem"),
    *("zadd", "zrem", "zscore", "zrange", "zrangebyscore", "zcard", "smembers"),
    *("xadd", "xrevrange"),
)
API_COMMANDS = (
    *("persist", "zrevrangebyscore", "sadd", "srem", "subscribe", "xread"),
    *("zrevrank", "zrevrange", "zcount", "expireat"),
)
WORKER_COMMANDS = ("script|exists", "brpop", "blpop", "incrby", "sismember", "zremrangebyscore")
#: To take webhooks out of the outbox, and to note what came of them.
WEBHOOKS_COMMANDS = (
    *("ping", "time", "evalsha", "script|load", "exists", "pttl", "hget", "hmget", "hset", "hdel"),
    *("hincrby", "zadd", "zrem", "zrange", "zrangebyscore"),
)
#: Celery's events and remote control.
CELERY_COMMANDS = ("sadd", "srem", "psubscribe", "punsubscribe")

COMMON_KEYS = (
    *(keys.job("*"), f"{keys.INDEX_PREFIX}*", keys.EXPIRY, keys.OWNERS, keys.FLIGHT, keys.TOTALS),
    *(keys.events("*"), keys.WORKERS, keys.worker("*"), keys.cancels("*")),
    *(keys.OUTBOXES, keys.outbox("*"), keys.delivery("*")),
)
API_KEYS = (
    *(keys.API_KEYS, keys.rate("*"), keys.staging("*"), keys.readers("*")),
    *(keys.file("*"), keys.FILES, f"{keys.FILES}@*", keys.FILE_EXPIRY),
    *(keys.batch("*"), keys.BATCHES, f"{keys.BATCHES}@*"),
)
WORKER_KEYS = (keys.claimed("*"), keys.nudge("*"))
#: EXPIRY for `write_even_if_full` alone.
WEBHOOKS_KEYS = (keys.job("*"), keys.OUTBOXES, keys.outbox("*"), keys.delivery("*"), keys.EXPIRY)
#: The bindings of its exchanges, its mailboxes, one list per priority of kombu's, and its events.
CELERY_KEYS = ("_kombu.binding*", "*.celery.pidbox", "*.celery.pidbox??[369]", "celeryev.*")

#: Where the end of a job is told to the API that waits for it.
COMMON_CHANNELS = (keys.waiters("*"),)
#: `{db}` is the database; a pattern is subscribed to only where it stands here to the letter.
CELERY_CHANNELS = ("/{db}.celeryev/*", "/{db}.celeryev/worker.*", "/{db}.celery.pidbox")


@dataclass(frozen=True)
class User:
    name: str
    password: str
    commands: tuple[str, ...]
    keys: tuple[str, ...]
    channels: tuple[str, ...] = ()
    #: Whether it has to do with the queues of the models.
    has_queues: bool = True

    def line(self, models: Iterable[str], db: int) -> str:
        """The command that makes this user, or makes it anew."""
        named = models if self.has_queues else ()
        own = [pattern for model in named for pattern in _of(keys.slug(model))]
        commands = self.commands if db == 0 else ("select", *self.commands)
        words = [
            *("ACL", "SETUSER", self.name, "reset", "on", f">{self.password}"),
            *(f"~{pattern}" for pattern in (*self.keys, *own)),
            *("resetchannels", *(f"&{channel.format(db=db)}" for channel in self.channels)),
            *("-@all", *(f"+{command}" for command in commands)),
        ]
        return " ".join(words)


API = User(
    "distilq-api",
    API_PASSWORD,
    (*COMMON_COMMANDS, *API_COMMANDS),
    (*COMMON_KEYS, *API_KEYS),
    COMMON_CHANNELS,
)
WORKER = User(
    "distilq-worker",
    WORKER_PASSWORD,
    (*COMMON_COMMANDS, *WORKER_COMMANDS, *CELERY_COMMANDS),
    (*COMMON_KEYS, *WORKER_KEYS, *CELERY_KEYS),
    (*COMMON_CHANNELS, *CELERY_CHANNELS),
)
WEBHOOKS = User(
    "distilq-webhooks", WEBHOOKS_PASSWORD, WEBHOOKS_COMMANDS, WEBHOOKS_KEYS, has_queues=False
)


def lines(models: Iterable[str], db: int = 0) -> list[str]:
    """Three `ACL SETUSER` commands, for the queues of these models in this database."""
    chosen = list(models)
    return [user.line(chosen, db) for user in (API, WORKER, WEBHOOKS)]


def _of(slug: str) -> tuple[str, str]:
    """The patterns of one model's keys and of its Celery queues."""
    return f"distilq:{slug}:*", f"distilq.{slug}.*"
