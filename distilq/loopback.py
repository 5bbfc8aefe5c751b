"""Who can reach an address: this machine alone, or others."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from distilq.settings import Auth


def keys_required(auth: Auth, hosts: Iterable[str]) -> bool:
    """Whether an API that listens on these hosts asks for keys; `auto`: where others reach it."""
    if auth == "auto":
        found = list(hosts)
        return not found or not all(is_loopback(host) for host in found)
    return auth == "on"


def is_loopback(host: str) -> bool:
    """Whether all that the name or address stands for is loopback; False where that is unknown.

    A Unix socket is not: what listens on one stands behind a proxy.
    """
    if not host:  # all addresses, for gunicorn
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(_is_loopback(str(address[0])) for *_, address in found)


def _is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
