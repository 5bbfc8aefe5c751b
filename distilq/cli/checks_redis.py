"""What `distilq doctor` finds in Redis, where it is told which one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from distilq.cli.checks import NEARLY, Check
from distilq.cli.errors import CannotRun
from distilq.cli.options import running_redis
from distilq.cli.redis_binary import MINIMUM
from distilq.cli.table import without_password
from distilq.settings import Settings

MEBIBYTE = 2**20


def redis_checks(settings: Settings) -> Iterator[Check]:
    try:
        url = running_redis(settings)
        info = _info(url)
    except ModuleNotFoundError as error:
        yield Check("redis", "skip", f"not looked at: {error.name} is not installed here")
    except CannotRun as error:
        yield Check("redis", "skip", f"not looked at: {error}")
    except ConnectionError as error:
        yield Check("redis", "fail", str(error), "start it, or correct --redis-url")
    else:
        yield _version(info, without_password(url))
        if info.get("loading"):
            yield Check("redis", "warn", "it still reads its file", "try again when it has")
            return
        yield _durability(info, allowed=settings.allow_volatile)
        yield from _writes(info)
        yield _memory(info, allowed=settings.allow_volatile)


def _info(url: str) -> Mapping[str, Any]:
    """What INFO says. Raises ConnectionError."""
    from redis.exceptions import RedisError

    from distilq.connection import connect

    name = without_password(url)
    try:
        with connect(url) as client:
            info: Mapping[str, Any] = client.info()
            return info
    except ValueError as error:
        raise ConnectionError(f"{name} is not the address of a Redis: {error}") from None
    except (RedisError, OSError) as error:
        raise ConnectionError(f"the Redis at {name}: {error}") from None


def _version(info: Mapping[str, Any], name: str) -> Check:
    found = str(info["redis_version"])
    if tuple(int(part) for part in found.split(".")[:2]) < MINIMUM:
        return Check("redis", "fail", f"{name} is version {found}", "distilq needs 6.2 or newer")
    return Check("redis", "ok", f"version {found} at {name}")


def _durability(info: Mapping[str, Any], *, allowed: bool) -> Check:
    if not info.get("aof_enabled"):
        advice = "redis-cli config set appendonly yes, and in redis.conf"
        return _lossy("it keeps no append-only file: jobs die with it", advice, allowed=allowed)
    return Check("redis", "ok", "keeps an append-only file")


def _writes(info: Mapping[str, Any]) -> Iterator[Check]:
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if info.get("aof_enabled") and info.get(name, "ok") != "ok":
            yield Check("redis", "fail", f"{name} is {info[name]}", "is its disk full? see its log")


def _memory(info: Mapping[str, Any], *, allowed: bool) -> Check:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    used, most = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        advice = "redis-cli config set maxmemory-policy noeviction, and in redis.conf"
        return _lossy(f"maxmemory-policy is {policy}: it drops jobs", advice, allowed=allowed)
    said = f"uses {used / MEBIBYTE:.0f} MiB"
    if not most:
        return Check("redis", "ok", f"{said}, no maxmemory, noeviction")
    said = f"{said} of maxmemory {most / MEBIBYTE:.0f} MiB, noeviction"
    if used > NEARLY * most:
        return Check("redis", "warn", said, "soon jobs get 503: raise maxmemory")
    return Check("redis", "ok", said)


def _lossy(said: str, advice: str, *, allowed: bool) -> Check:
    """API and workers refuse such a Redis, unless they are told not to."""
    return Check("redis", "warn" if allowed else "fail", said, advice)
