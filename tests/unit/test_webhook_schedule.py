from __future__ import annotations

import pytest

from distilq.webhooks.schedule import JITTER, MOST_RETRY_AFTER_S, PAUSES_S, after


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_a_delivery(status: int) -> None:
    assert after(status, "100", 1).state == "delivered"


@pytest.mark.parametrize("tries", [1, 5])
def test_410_is_the_end(tries: int) -> None:
    assert after(410, "100", tries).state == "failed"


@pytest.mark.parametrize("status", [None, 100, 301, 302, 307, 400, 404, 429, 500, 503, 999])
def test_anything_else_is_tried_again_later_and_later_and_then_no_more(status: int | None) -> None:
    for tries, pause_s in enumerate(PAUSES_S, 1):
        then = after(status, "", tries)
        assert then.state == "pending"
        assert pause_s * (1 - JITTER) <= then.pause_s <= pause_s * (1 + JITTER)
    assert after(status, "", len(PAUSES_S) + 1).state == "failed"


def test_the_pauses_grow_over_a_day_and_some() -> None:
    assert list(PAUSES_S) == sorted(PAUSES_S)
    assert 24 <= sum(PAUSES_S) / 3600 <= 28


def test_what_failed_at_once_does_not_come_again_at_once() -> None:
    assert len({after(500, "", 1).pause_s for _ in range(20)}) > 1


def test_a_receiver_that_says_when_is_not_asked_before() -> None:
    assert after(503, "100", 1).pause_s == 100
    assert after(503, "1", 3).pause_s >= PAUSES_S[2] * (1 - JITTER)


def test_nobody_is_waited_for_beyond_a_day() -> None:
    assert after(503, "86401", 1).pause_s == MOST_RETRY_AFTER_S
    assert after(503, "Fri, 31 Dec 9999 23:59:59 GMT", 1).pause_s == MOST_RETRY_AFTER_S


def test_a_receiver_that_says_nonsense_is_tried_again_all_the_same() -> None:
    then = after(503, "Mon, 20 Nov 99999999999999999999 19:12:08 GMT", 1)
    assert then.state == "pending"
    assert then.pause_s <= PAUSES_S[0] * (1 + JITTER)
