from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from distilq.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 0),
        ("0", 0),
        ("7", 7),
        ("9" * 400, 999_999_999),
        ("-5", 0),
        ("soon", 0),
        ("1.5", 0),
        ("²", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 0),
        ("Mon, 20 Nov 99999999999999999999 19:12:08 GMT", 0),
        ("Mon, 20 Nov 2099 19:12:08 +99999999999999", 0),
    ],
)
def test_it_is_seconds_or_a_date(header: str, seconds: int) -> None:
    assert retry_after_s(header) == seconds


def test_a_date_to_come_is_waited_for() -> None:
    at = datetime.now(timezone.utc) + timedelta(seconds=1_000)
    assert 990 < retry_after_s(format_datetime(at, usegmt=True)) <= 1_000
    assert retry_after_s("Fri, 31 Dec 9999 23:59:59 GMT") > 1e9
