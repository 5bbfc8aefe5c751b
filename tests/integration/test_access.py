"""Keys and their rates over a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from api.app import create_app
from distilq import access, keys
from distilq.access import ApiKey, KeyRing, Limits
from distilq.connection import connect
from distilq.errors import StoreFull, StoreUnavailable
from distilq.rates import Quota, take
from distilq.scripts import Scripts
from distilq.settings import Settings
from distilq.store import JobStore

HOUR_S = 3600


class Ticks:
    """A monotonic clock that tests turn."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counting:
    """A client that counts what is asked of it."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += name in ("hget", "hset", "evalsha")
        return getattr(self._redis, name)


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def ring(redis_client: Any, ticks: Ticks) -> KeyRing:
    return KeyRing(redis_client, ticks)


def test_a_token_opens_until_it_is_revoked(ring: KeyRing, ticks: Ticks) -> None:
    key = ApiKey(name="Anna", scopes=("jobs", "admin"), limits=Limits(rate_per_minute=5))
    token = ring.create(key)
    assert ring.verify(token) == key
    assert ring.all() == [key]
    assert ring.revoke(key.id)
    assert not ring.revoke(key.id)
    ticks.now += access.CACHED_S
    assert ring.verify(token) is None
    assert ring.all() == []


def test_redis_holds_nothing_that_opens(ring: KeyRing, redis_client: Any) -> None:
    token = ring.create(ApiKey(name="Anna"))
    [raw] = redis_client.hvals(keys.API_KEYS)
    assert token.split("_", 2)[2] not in raw.decode()


def test_a_token_with_anothers_id_or_secret_opens_nothing(ring: KeyRing) -> None:
    anna, ben = (ring.create(ApiKey(name=name)) for name in ("Anna", "Ben"))
    (_, first, secret), (_, second, _) = anna.split("_", 2), ben.split("_", 2)
    assert ring.verify(f"dq_{second}_{secret}") is None
    assert ring.verify(f"dq_{'0' * 16}_{secret}") is None
    other = "A" if secret[0] != "A" else "B"
    assert ring.verify(f"dq_{first}_{other}{secret[1:]}") is None
    assert ring.verify(anna) is not None


def test_a_key_is_read_once_in_a_while_and_an_unknown_one_each_time(
    redis_client: Any, ticks: Ticks
) -> None:
    counting = Counting(redis_client)
    ring = KeyRing(counting, ticks)
    token = ring.create(ApiKey(name="Anna"))
    counting.calls = 0
    for _ in range(5):
        assert ring.verify(token)
    assert counting.calls == 1
    ticks.now += access.CACHED_S
    assert ring.verify(token)
    assert counting.calls == 2
    for _ in range(3):
        assert ring.verify(f"dq_{'0' * 16}_{'A' * 43}") is None
    assert counting.calls == 5


def test_the_cache_is_bounded_and_what_falls_out_of_it_still_opens(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "CACHED_KEYS", 2)
    tokens = [ring.create(ApiKey(name=name)) for name in "abc"]
    for token in tokens * 2:
        assert ring.verify(token)
    assert len(ring._cache) == 2


def test_redis_away_is_no_wrong_key(ticks: Ticks) -> None:
    ring = KeyRing(connect("redis://127.0.0.1:1/0"), ticks)
    with pytest.raises(StoreUnavailable):
        ring.verify(f"dq_{'0' * 16}_{'A' * 43}")
    assert ring.verify("Anna") is None  # for this nobody has to be asked


def test_an_entry_that_cannot_be_read_opens_nothing(ring: KeyRing, redis_client: Any) -> None:
    token = ring.create(ApiKey(name="Anna"))
    key_id = token.split("_")[1]
    good = redis_client.hget(keys.API_KEYS, key_id)
    for bad in (b"{", b"{}", good.replace(b'"jobs"', b'"root"'), good.replace(b'"id"', b'"no"')):
        redis_client.hset(keys.API_KEYS, key_id, bad)
        assert ring.verify(token) is None
        assert ring.all() == []


def spend(redis: Any, jobs: int, per_minute: int, key_id: str = "k") -> Quota:
    return take(Scripts(redis), key_id, jobs, per_minute)


def test_a_quota_is_spent_and_says_when_there_is_more(redis_client: Any) -> None:
    first = spend(redis_client, 1, 60)
    assert (first.taken, first.limit, first.left, first.retry_s) == (True, 60, 59, 0)
    assert spend(redis_client, 59, 60).taken
    refused = spend(redis_client, 2, 60)
    assert not refused.taken
    assert 0.5 < refused.retry_s <= 2
    assert 58 < refused.whole_s <= 60


def test_a_refusal_takes_nothing_and_others_have_their_own(redis_client: Any) -> None:
    assert not spend(redis_client, 8, 7).taken
    assert spend(redis_client, 7, 7).left == 0
    assert spend(redis_client, 7, 7, "other").taken


@pytest.mark.parametrize("per_minute", [1, 7, 59, 600, 999_983])
def test_all_of_a_quota_can_be_had_at_once_and_is_counted_to_the_last(
    redis_client: Any, per_minute: int
) -> None:
    for left in range(per_minute - 1, max(-1, per_minute - 50), -1):
        quota = spend(redis_client, 1, per_minute)
        assert quota.taken
        assert left <= quota.left <= left + per_minute // 100 + 1  # some time has passed
    assert spend(redis_client, per_minute, per_minute, "other").taken


def test_what_is_spent_comes_back_by_and_by(redis_client: Any) -> None:
    assert spend(redis_client, 6000, 6000).taken
    refused = spend(redis_client, 10, 6000)
    assert not refused.taken
    time.sleep(refused.retry_s)
    assert spend(redis_client, 10, 6000).taken


def test_a_clock_that_was_set_back_locks_nobody_out_for_longer_than_a_window(
    redis_client: Any,
) -> None:
    seconds, _ = redis_client.time()
    redis_client.set(keys.rate("k"), (seconds + HOUR_S) * 1_000_000)
    assert spend(redis_client, 1, 60).retry_s <= 1


def test_nothing_is_kept_of_a_quota_that_is_whole(redis_client: Any) -> None:
    spend(redis_client, 30, 60)
    assert 0 < redis_client.pttl(keys.rate("k")) <= 30_002


def test_a_key_without_a_rate_costs_no_call(redis_client: Any, ticks: Ticks) -> None:
    counting = Counting(redis_client)
    assert KeyRing(counting, ticks).spend(ApiKey(name="a"), 1) is None
    assert counting.calls == 0


@pytest.fixture
def full(redis_client: Any) -> Iterator[Any]:
    redis_client.config_set("maxmemory", 1)
    yield redis_client
    redis_client.config_set("maxmemory", 0)


def test_a_full_redis_still_knows_keys_and_counts_rates_but_takes_no_new_key(
    ring: KeyRing, redis_client: Any, request: pytest.FixtureRequest
) -> None:
    key = ApiKey(name="a", limits=Limits(rate_per_minute=1))
    token = ring.create(key)
    request.getfixturevalue("full")
    assert ring.verify(token) == key
    assert [quota and quota.taken for quota in (ring.spend(key, 1), ring.spend(key, 1))] == [
        True,
        False,
    ]
    with pytest.raises(StoreFull):
        ring.create(ApiKey(name="b"))
    assert ring.revoke(key.id)


def test_on_a_full_redis_every_answer_is_one_that_is_described(
    ring: KeyRing, redis_client: Any, redis_url: str, request: pytest.FixtureRequest
) -> None:
    chosen = Settings(redis_url=redis_url, model="bundled", auth="on")
    client = create_app(chosen, JobStore(redis_client, chosen), ring).test_client()
    key = ApiKey(name="a", scopes=("jobs", "admin"), limits=Limits(rate_per_minute=100))
    sent = {"Authorization": f"Bearer {ring.create(key)}"}
    job = {"inputs": "a"}
    assert client.post("/v1/jobs", json=job, headers=sent).status_code == 202
    request.getfixturevalue("full")
    for path, body, status in (
        ("/v1/jobs", job, 503),
        ("/v1/jobs:batch", {"jobs": [job, job]}, 503),
        ("/score", job, 503),
        ("/v1/queue:pause", {}, 200),
        ("/v1/queue:resume", {}, 200),
        ("/v1/queue:purge", {}, 200),
    ):
        response = client.post(path, json=body, headers=sent)
        assert response.status_code == status, (path, response.text)
        if status == 503:
            assert response.get_json()["type"] == "urn:distilq:problem:store_full"
            assert "RateLimit" in response.headers
    assert response.get_json() == {"removed": 1}
