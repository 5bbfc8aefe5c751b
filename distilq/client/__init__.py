"""The Python SDK: `Client` and its twin `AsyncClient`, which differ in who waits."""

from distilq.client.asynchronous import AsyncBatchHandle, AsyncClient, AsyncJobHandle
from distilq.client.batches import BatchState
from distilq.client.errors import (
    ClientError,
    ConnectionFailed,
    NoAnswerInTime,
    UnexpectedAnswer,
    WaitTimedOut,
)
from distilq.client.events import DoneEvent, Event, StatusEvent, TokenEvent
from distilq.client.operators import Me
from distilq.client.options import Generation, Inputs
from distilq.client.results import Mapped, Result
from distilq.client.sync import BatchHandle, Client, JobHandle

__all__ = [
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncJobHandle",
    "BatchHandle",
    "BatchState",
    "Client",
    "ClientError",
    "ConnectionFailed",
    "DoneEvent",
    "Event",
    "Generation",
    "Inputs",
    "JobHandle",
    "Mapped",
    "Me",
    "NoAnswerInTime",
    "Result",
    "StatusEvent",
    "TokenEvent",
    "UnexpectedAnswer",
    "WaitTimedOut",
]
