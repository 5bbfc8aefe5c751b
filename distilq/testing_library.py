"""Files and batches in memory, as `FileStore` and `BatchStore` keep them in Redis."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from secrets import token_hex

from typing_extensions import Self

from distilq.archive import Library
from distilq.batches import Batch, BatchStatus, Head, Superseded, to_batch
from distilq.errors import BatchNotFound, IdempotencyKeyReused, StoredFileNotFound
from distilq.files import File, Purpose, is_seen, unknown_after
from distilq.owner import EVERYBODY, Owner
from distilq.storage import Storage


def memory_library() -> Library:
    """One whose bytes are in memory too."""
    return Library(MemoryFiles(), MemoryBatches(), Storage(f"memory://{token_hex(8)}"))


class MemoryFiles:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._files: dict[str, File] = {}
        self._owner, self._clock = EVERYBODY, clock
        self._dropped: dict[str, int] = {}

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)
        other._owner = owner
        return other

    def add(self, file: File) -> File:
        own = file.model_copy(update={"owner": self._owner.id})
        self._files[own.id] = own
        return own

    def get(self, file_id: str) -> File:
        file = self._files.get(file_id)
        if file is None or not is_seen(file, self._owner, self._clock()):
            raise StoredFileNotFound(f"no file has the id {file_id}")
        return file

    def page(
        self, limit: int, after: str | None, purpose: Purpose | None = None
    ) -> tuple[list[File], bool]:
        now = self._clock()
        found = [f for f in self._files.values() if is_seen(f, self._owner, now)]
        found.sort(key=lambda file: (file.created_at, file.id), reverse=True)
        if after is not None:
            known = {file.id: file.created_at for file in self._files.values()} | self._dropped
            if after not in known:
                raise unknown_after(after)
            found = [f for f in found if (f.created_at, f.id) < (known[after], after)]
        rest = [file for file in found if purpose in (None, file.purpose)]
        return rest[:limit], len(rest) > limit

    def drop(self, file_id: str) -> File:
        file = self._files.get(file_id)
        if file is None or not is_seen(file, self._owner, 0):
            raise StoredFileNotFound(f"no file has the id {file_id}")
        self._dropped[file_id] = file.created_at
        return self._files.pop(file_id)

    def expired(self, limit: int) -> list[File]:
        now = self._clock()
        return [file for file in self._files.values() if file.expires_at <= now][:limit]


class MemoryBatches:
    def __init__(self) -> None:
        self._fields: dict[str, dict[str, str]] = {}
        #: Of those that have not ended: whether somebody works at it.
        self._active: dict[str, bool] = {}
        self._owner = EVERYBODY

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)
        other._owner = owner
        return other

    def create(self, head: Head) -> bool:
        own = head.model_copy(update={"owner": self._owner.id})
        if own.id in self._fields:
            if self._fields[own.id]["fingerprint"] != own.fingerprint:
                raise IdempotencyKeyReused("take a new key for a new request")
            return False
        head_json = own.model_dump_json()
        self._fields[own.id] = {
            **{"head": head_json, "fingerprint": own.fingerprint},
            **{"status": BatchStatus.VALIDATING.value, "fence": "0"},
        }
        self._active[own.id] = False
        return True

    def get(self, batch_id: str) -> Batch:
        batch = self._read(batch_id) if batch_id in self._fields else None
        if batch is None or not self._sees(batch):
            raise BatchNotFound(f"no batch has the id {batch_id}")
        return batch

    def page(self, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        found = [b for b in map(self._read, self._fields) if self._sees(b)]
        found.sort(key=lambda batch: (batch.head.created_at, batch.id), reverse=True)
        ids = [batch.id for batch in found]
        if after is not None and after not in ids:
            raise unknown_after(after)
        rest = found[ids.index(after) + 1 if after else 0 :]
        return rest[:limit], len(rest) > limit

    def cancel(self, batch_id: str) -> Batch:
        if self.get(batch_id).status in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
            self._fields[batch_id]["status"] = BatchStatus.CANCELLING.value
            self._fields[batch_id]["at:cancelling"] = str(int(time.time()))
        return self.get(batch_id)

    def claim(self) -> tuple[Batch, int] | None:
        for batch_id, held in self._active.items():
            if not held:
                self._active[batch_id] = True
                fence = int(self._fields[batch_id]["fence"]) + 1
                self._fields[batch_id]["fence"] = str(fence)
                return self._read(batch_id), fence
        return None

    def write(
        self, batch_id: str, fence: int, fields: Mapping[str, str] | None = None, drop: str = ""
    ) -> BatchStatus:
        known, given = self._fields[batch_id], dict(fields or {})
        if known["fence"] != str(fence):
            raise Superseded(f"another process works at {batch_id}")
        final = "status" in given and BatchStatus(given["status"]).final
        if known["status"] == BatchStatus.CANCELLING.value and not final:
            given.pop("status", None)
        known.update(given)
        known.pop(drop, None)
        if final:
            del self._active[batch_id]
        return BatchStatus(known["status"])

    def release(self, batch_id: str, fence: int) -> None:
        """Also what the end of a lease does, where a test lets a process die."""
        if self._fields[batch_id]["fence"] == str(fence):
            del self._active[batch_id]
            self._active[batch_id] = False  # the last to be taken up

    def _read(self, batch_id: str) -> Batch:
        fields = self._fields[batch_id]
        return to_batch({name.encode(): value.encode() for name, value in fields.items()})

    def _sees(self, batch: Batch) -> bool:
        return self._owner.sees_all or batch.head.owner == self._owner.id
