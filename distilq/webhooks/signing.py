"""Signatures after Standard Webhooks: HMAC-SHA256 over id, time and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

PREFIX = "whsec_"

#: Bytes of a secret, as the specification has it.
LEAST_BYTES, MOST_BYTES, NEW_BYTES = 24, 64, 32

#: While receivers move from one secret to the next, both sign.
MOST_SECRETS = 2


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_BYTES)).decode()


def read_secrets(text: str) -> tuple[bytes, ...]:
    """The secrets of a comma-separated list.

    Raises:
        ValueError: they are none, too many, or not as they should be; no word shows any of one.
    """
    given = [secret.strip() for secret in text.split(",") if secret.strip()]
    if not 1 <= len(given) <= MOST_SECRETS:
        raise ValueError("must hold one secret, or two separated by a comma")
    return tuple(_read(secret, number) for number, secret in enumerate(given, 1))


def _read(secret: str, number: int) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or not LEAST_BYTES <= len(key) <= MOST_BYTES:
        size = f"{LEAST_BYTES} to {MOST_BYTES} bytes"
        raise ValueError(f"number {number} is not {PREFIX} and {size} in base64")
    return key


def signed_headers(
    keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """The three headers by which a receiver knows that a message is ours, and of now."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digests = (hmac.new(key, signed, hashlib.sha256).digest() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(d).decode()}" for d in digests),
    }
