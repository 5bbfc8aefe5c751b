"""Whose a job is: the API key that submitted it, or nobody's where keys are off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Owner:
    """On whose behalf the store is used; caps of 0 are none."""

    id: str = ""
    #: Other owners' jobs do not exist for one who does not see all.
    sees_all: bool = False
    max_queued_jobs: int = 0
    max_queued_tokens: int = 0
    max_in_flight: int = 0


#: Where keys are off, everybody is one and the same.
EVERYBODY = Owner(sees_all=True)

#: Where keys are on, who shows none. No key has this id, so no job is ever seen by it.
NOBODY = Owner(id="nobody")
