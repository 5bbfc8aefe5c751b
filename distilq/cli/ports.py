"""TCP ports: is this one free, and which one is."""

from __future__ import annotations

import errno
import os
import socket

_REASONS = {
    errno.EADDRINUSE: "it is taken by another program",
    errno.EACCES: "ports below 1024 need more rights than you have",
    errno.EADDRNOTAVAIL: "this machine does not have that address",
}


def why_unusable(host: str, port: int) -> str | None:
    """Why nothing can listen at `host:port`, in words; None when something can."""
    try:
        # All as gunicorn does it: a port that a closed server only just left counts as free.
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        code = error.errno or 0
        return _REASONS.get(code) or (error.strerror or os.strerror(code))
    return None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that the kernel picks; free when this returns."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
