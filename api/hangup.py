"""Has the client hung up? Nothing else tells a WSGI application before it writes."""

from __future__ import annotations

import select
import socket
from typing import Any


def client_is_gone(environ: dict[str, Any]) -> bool:
    """Whether the peer has closed the connection; False where the server does not show it."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return False
    if _has_hung_up(connection):
        return True
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False  # open, and nothing more has been sent
    except ValueError:
        return False  # TLS takes no flags
    except OSError:
        return True


def _has_hung_up(connection: Any) -> bool:
    """What the kernel knows of the peer's end, even with bytes before it that nobody has read."""
    ended = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # the last: Linux
    poll = select.poll()
    poll.register(connection, ended)
    return any(events & ended for _, events in poll.poll(0))
