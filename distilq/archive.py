"""All that files and batches need, as one owner sees it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from typing_extensions import Self

from distilq.batches import Batches, BatchStore
from distilq.connection import RedisClient
from distilq.files import Files, FileStore
from distilq.owner import Owner
from distilq.settings import Settings
from distilq.storage import Storage


@dataclass
class Library:
    files: Files
    batches: Batches
    storage: Storage

    @classmethod
    def over(cls, redis: RedisClient, settings: Settings) -> Library:
        """In Redis, with the bytes in the storage of the settings."""
        storage = Storage.of(settings.storage_url, settings.data_dir)
        return cls(FileStore(redis), BatchStore(redis, settings.model), storage)

    def owned_by(self, owner: Owner) -> Self:
        other = copy.copy(self)  # the storage is shared
        other.files, other.batches = self.files.owned_by(owner), self.batches.owned_by(owner)
        return other
