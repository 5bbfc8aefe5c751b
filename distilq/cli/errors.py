"""What a command says when it cannot do what it was asked: one line, no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum

from distilq.errors import Canceled, DistilqError, JobError, StartedTooLate, TimedOut


class Exit(IntEnum):
    """Exit statuses; 2, a wrong option, is click's."""

    PROBLEM = 1
    FAILED = 3
    CANCELED = 4
    TOO_LATE = 5
    #: 128 and the number of SIGINT, of SIGPIPE: as shells show what died of them.
    INTERRUPTED = 130
    NO_READER = 141


#: The same in words, for `--help`.
STATUSES = (
    "Exit status: 0 done; 1 the service cannot be reached, or refuses; 2 a wrong option; 3 the job"
    " failed, or some lines did; 4 it was canceled; 5 it, or the wait for it, ran out of time;"
    " 130 Ctrl-C; 141 nobody reads on."
)
#: What to do about a problem, by its code.
ADVICE = {
    "connection_failed": "start one with `distilq up`, or say where one is: --url, DISTILQ_URL",
    "no_answer_in_time": "`distilq doctor` may find out why",
    "unexpected_answer": "say where a distilq is: --url, DISTILQ_URL",
    "unauthorized": "give a key: --api-key, DISTILQ_API_KEY; `distilq keys create NAME` makes one",
    "queue_full": "try again when jobs have ended; `distilq top` shows the queue",
    "prompt_too_long": "--param truncation=true keeps its end",
    "store_unavailable": "`distilq doctor` may find out why",
    "wait_timed_out": "it goes on; `distilq wait` with its id waits again",
}


class CannotRun(Exception):
    """The message is for the person at the terminal: what is wrong and what would help."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()  # here, where a reader that has gone is nothing to be told of
    except CannotRun as error:
        _end(str(error))
    except DistilqError as error:
        _end(said_of(error), status_of(error))
    except ModuleNotFoundError as error:
        _end(f"{error.name} is missing: pip install 'distilq[all]'")
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        with suppress(OSError):  # what is left in the buffer has nowhere to go at the exit either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.NO_READER)


def said_of(error: DistilqError) -> str:
    """What happened, to which job, and what would help."""
    job = f"job {error.job_id}" if error.job_id else ""
    named = job in str(error)
    return "; ".join(
        filter(None, [str(error) if named else f"{job}: {error}", ADVICE.get(error.code)])
    )


def status_of(error: DistilqError) -> int:
    if isinstance(error, Canceled):
        return Exit.CANCELED
    if isinstance(error, (TimedOut, StartedTooLate)) or error.code == "wait_timed_out":
        return Exit.TOO_LATE
    return Exit.FAILED if isinstance(error, JobError) else Exit.PROBLEM


def note(words: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"distilq: {' '.join(words.split())}\n")
    sys.stderr.flush()


def _end(words: str, status: int = Exit.PROBLEM) -> None:
    note(words)
    sys.exit(status)
