"""The bundled model's queue, from the clients' side and from a worker's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from distilq.claims import Claims
from distilq.settings import Settings
from distilq.store import JobStore
from distilq.sweeper import Sweeper


@pytest.fixture
def store(redis_client: Any, settings: Callable[..., Settings]) -> Iterator[JobStore]:
    store = JobStore(redis_client, settings())
    yield store
    store.close()


@pytest.fixture
def claims(redis_client: Any) -> Claims:
    return Claims(redis_client, "bundled", "w1")


@pytest.fixture
def sweeper(redis_client: Any) -> Sweeper:
    return Sweeper(redis_client, "bundled")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost that signs itself; its key is in the same file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"]
    try:
        made = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError:
        if os.environ.get("CI"):
            pytest.fail("needs openssl")
        pytest.skip("needs openssl to make a certificate")
    file.write_bytes(made.stdout)
    return file
