"""Ends a worker whose engine no longer moves: it cannot be mended from within, only started again.

Its leases lapse, so other workers do its jobs; whoever supervises the process restarts it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import time
from collections.abc import Callable

log = logging.getLogger("distilq.watchdog")

#: The descriptor; Celery puts a logger in the place of sys.stderr.
STDERR = 2

#: EX_SOFTWARE of sysexits.h.
EXIT_STATUS = 70

#: Seconds without a finished loop after which the engine counts as frozen.
FROZEN_S = 10.0

#: Seconds of which one look at the engine may give account. Only while this process runs does the
#: engine have to move: after a SIGSTOP, or a suspended machine, it gets its time anew.
MOST_PER_LOOK_S = 2.0

#: Seconds without a look after which the process ends all the same: something holds the
#: interpreter's lock, so no thread of Python can look.
HELD_S = 60.0


class Watchdog:
    """Call `look` about once a second; `moves` gives a number that changes while work goes on."""

    def __init__(self, moves: Callable[[], float], die: Callable[[], None] | None = None) -> None:
        self._moves = moves
        self._die = die or die_with_stacks
        self._last = moves()
        self._looked_at = time.monotonic()
        self._still_s = 0.0

    def look(self) -> bool:
        """Whether the engine has moved since the last look."""
        now, moved = time.monotonic(), self._moves()
        self._still_s += min(now - self._looked_at, MOST_PER_LOOK_S)
        self._looked_at = now
        faulthandler.dump_traceback_later(HELD_S, exit=True, file=STDERR)
        if moved != self._last:
            self._last, self._still_s = moved, 0.0
            return True
        if self._still_s >= FROZEN_S:
            self._die()
        return False

    def rest(self) -> None:
        """Look no more."""
        faulthandler.cancel_dump_traceback_later()


def die_with_stacks() -> None:
    log.critical("the engine has not moved for %.0f s; this process ends", FROZEN_S)
    faulthandler.dump_traceback(file=STDERR)
    os._exit(EXIT_STATUS)
