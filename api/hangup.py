"""Has the client hung up? Nothing else tells a WSGI application before it writes."""

from __future__ import annotations

import socket
from typing import Any


def client_is_gone(environ: dict[str, Any]) -> bool:
    """Whether the peer has closed the connection; False where the server does not show it."""
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False  # open, and nothing more has been sent
    except ValueError:
        return False  # TLS takes no flags
    except OSError:
        return True
