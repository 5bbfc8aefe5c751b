"""Signatures, held against the package that receivers verify with."""

from __future__ import annotations

import base64
import re
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from distilq.webhooks.signing import new_secret, read_secrets, signed_headers

BODY = b'{"type":"job.succeeded","data":{}}'


def test_the_specifications_own_example_is_signed_as_there() -> None:
    keys = read_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signed_headers(
        keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'
    )
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_verifies_it_by_either_secret_while_they_rotate() -> None:
    old, new = new_secret(), new_secret()
    headers = signed_headers(read_secrets(f"{new}, {old}"), "msg_1", int(time.time()), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers)["type"] == "job.succeeded"
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(BODY, headers)


@pytest.mark.parametrize("change", ["body", "webhook-id", "webhook-timestamp"])
def test_whatever_is_changed_on_the_way_is_noticed(change: str) -> None:
    secret = new_secret()
    headers = signed_headers(read_secrets(secret), "msg_1", int(time.time()), BODY)
    if change != "body":
        headers[change] = "1" + headers[change][1:] if change == "webhook-id" else "1"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" " if change == "body" else BODY, headers)


def of_bytes(number: int) -> str:
    return "whsec_" + base64.b64encode(b"k" * number).decode()


@pytest.mark.parametrize("text", [of_bytes(24), of_bytes(64), f"{of_bytes(32)},{of_bytes(33)}"])
def test_secrets_have_24_to_64_bytes(text: str) -> None:
    assert all(24 <= len(key) <= 64 for key in read_secrets(text))


@pytest.mark.parametrize(
    "text",
    [
        *("", " , ", "secret-words-in-the-clear", of_bytes(23), of_bytes(65)),
        *(of_bytes(32).removeprefix("whsec_"), of_bytes(32) + "!", f"{of_bytes(32)},whsec_"),
        ",".join([of_bytes(32)] * 3),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match=r"must hold|is not whsec_") as raised:
        read_secrets(text)
    shown = [part for part in re.findall(r"[\w+/=-]{9,}", text) if part in str(raised.value)]
    assert shown == []
