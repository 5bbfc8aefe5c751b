"""`python -m distilq.api.alive`: whether the API of this container answers; its healthcheck.

Not whether it is ready: that no worker lives, or that Redis is away, is not cured by another API.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException

#: Where the image's command listens.
HOST, PORT = "127.0.0.1", 8000
TIMEOUT_S = 4.0


def why_not(host: str = HOST, port: int = PORT) -> str | None:
    """What is wrong with the answer, or None."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"no answer: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"/livez answers {status}"


if __name__ == "__main__":
    sys.exit(why_not())
