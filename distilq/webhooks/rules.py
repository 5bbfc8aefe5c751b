"""Which addresses a webhook may have: looked at when a job is submitted, and when it is told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import SplitResult, urlsplit

from distilq.settings import Settings
from distilq.webhooks.addresses import is_public

#: What an address may be made of (RFC 3986): a backslash or a space means different things to
#: different readers. Without brackets, so that IPv6 addresses have to be given by name.
CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#@!$&'()*+,;=%-]+")

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*")
#: A name that ends like this is read as a number by some: `127.1`, `0x7f000001`.
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


def host_of(url: str) -> str:
    """The host of an address, in small letters; `-` where no rules allow it."""
    return (CHARACTERS.fullmatch(url) and urlsplit(url).hostname) or "-"


@dataclass(frozen=True)
class Rules:
    """The operator's list of hosts: a name, or `*.` and a name for all below it."""

    hosts: tuple[str, ...] = ()
    #: For tests and development: http, and addresses that are not public.
    allow_private: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        names = (name.strip().lower() for name in settings.webhook_hosts.split(","))
        return cls(tuple(name for name in names if name), settings.webhook_allow_private)

    @property
    def off(self) -> bool:
        return not self.hosts

    def refusal(self, url: str) -> str:
        """What is wrong with the address, in words that follow its name; empty if nothing is."""
        if not CHARACTERS.fullmatch(url):
            return "must be made of the characters of a URI, others as %XX"
        parts = urlsplit(url)
        schemes = ("https", "http") if self.allow_private else ("https",)
        if parts.scheme not in schemes:
            return f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
        if "@" in parts.netloc:
            return "must have no user or password"
        if parts.fragment:
            return "must have no fragment"
        if not _has_port(parts):
            return "must have a port from 1 to 65535, or none"
        return self._host_refusal(parts.hostname or "")

    def _host_refusal(self, host: str) -> str:
        number = _is_ipv4(host)
        if not number and (NUMERIC.fullmatch(host) or not NAME.fullmatch(host)):
            return "must have a host name, in ASCII"
        if number and not self.allow_private and not is_public(host):
            return "must not name a private address"
        if not any(_matches(host, allowed) for allowed in self.hosts):
            return "must name one of the hosts that this service tells"
        return ""


def _matches(host: str, allowed: str) -> bool:
    return host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed


def _has_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0 and not parts.netloc.endswith(":")
    except ValueError:
        return False


def _is_ipv4(host: str) -> bool:
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True
