"""Become another program, tied to the life of the process that started it.

    python -I -S tied.py PARENT_PID PROGRAM ARGUMENT…

The kernel kills the program when its parent dies, however the parent dies, so a SIGKILL of
`distilq up` leaves nothing behind. It is a program of its own because the signal must be set in the
child, before exec, and code between fork and exec is unsafe in a process that has threads.
Run by path, without the package: it imports in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Ask for SIGKILL when `parent`, this process's parent, dies. Does nothing but on Linux.

    Nothing is lost by SIGKILL: Redis has written its log before it answers, and a job that a
    worker leaves goes back to the queue.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above: there will be no signal
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    die_with(parent)
    try:
        os.execvp(command[0], command)  # noqa: S606 (it is what this program is for)
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
