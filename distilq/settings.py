"""Settings: one frozen object, read once from `DISTILQ_*`, and from files for what is secret.

pydantic-settings does the reading: typed, with an error that names the variable.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SecretsSettingsSource, SettingsConfigDict

Auth = Literal["auto", "on", "off"]
Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]
Traces = Literal["off", "otlp"]

SECRETS_DIR = "DISTILQ_SECRETS_DIR"


def _directory(name: str) -> str:
    if name and not Path(name).is_dir():  # else the default Redis would be used, without a word
        raise ValueError(f"{name} is no directory")
    return name


class Settings(BaseSettings):
    """All that can be set; `distilq settings` prints this table."""

    model_config = SettingsConfigDict(
        env_prefix="DISTILQ_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis of queue and records")
    allow_volatile: bool = Field(False, description="use even a Redis that may lose or evict jobs")
    model: str = Field(
        "auto", description="auto, distilgpt2, bundled, a directory, random:distilgpt2"
    )
    precision: Precision = Field("auto", description="auto, float32, float16, bfloat16 or int8")
    data_dir: Path = Field(Path("data"), description="where `distilq up` keeps Redis' files")

    max_rows: int = Field(64, ge=1, le=1024, description="sequences a worker decodes at once")
    max_batch_tokens: int = Field(
        65_536, ge=1024, description="tokens a worker's KV cache holds, all rows together"
    )
    prefill_budget: int = Field(
        512, ge=16, le=8192, description="most prompt tokens a worker prefills per step"
    )
    threads: int = Field(0, ge=0, description="torch threads of a worker; 0: one per core")
    drain_s: float = Field(
        30.0, ge=0, le=3600, description="seconds a stopping worker may take to finish its jobs"
    )

    max_body_bytes: int = Field(1_048_576, ge=1024, description="largest request body")
    max_batch_body_bytes: int = Field(
        67_108_864, ge=1024, description="the same for /v1/jobs:batch"
    )
    max_silence_s: int = Field(
        30, ge=1, le=600, description="seconds a client may be silent amid a request"
    )
    storage_url: str = Field(
        "", description="where files lie, as fsspec writes it; by default in the data directory"
    )
    max_file_bytes: int = Field(104_857_600, ge=1024, description="largest uploaded file")
    max_batch_lines: int = Field(50_000, ge=1, le=1_000_000, description="lines of a batch's file")
    file_ttl_s: int = Field(
        2_592_000, ge=60, description="seconds for which files and ended batches are kept"
    )
    max_wait_s: int = Field(60, ge=1, le=300, description="longest `Prefer: wait` and /score wait")
    max_queued_jobs: int = Field(200_000, ge=1, description="queued jobs before 503")
    max_queued_tokens: int = Field(200_000_000, ge=1, description="queued tokens before 503")
    webhook_hosts: str = Field(
        "",
        pattern=r"^ *((\*\.)?[A-Za-z0-9_.-]+ *, *)*((\*\.)?[A-Za-z0-9_.-]+ *)?$",
        description="hosts that webhooks may have: names and *.names, comma-separated",
    )
    webhook_allow_private: bool = Field(
        False, description="http and private addresses too, for development"
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""), description="whsec_… that webhooks are signed with; two while they rotate"
    )
    auth: Auth = Field(
        "auto", description="API keys: on, off, or auto: where not only loopback is listened on"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="text, or json: an object per line"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="info: a line per request, and per job that starts or ends"
    )
    traces: Traces = Field(
        "off", description="otlp: to where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the extra otel"
    )
    api_processes: int = Field(1, ge=1, le=64, description="gunicorn processes")
    api_threads: int = Field(320, ge=1, le=1024, description="threads per gunicorn process")
    secrets_dir: Annotated[str, AfterValidator(_directory)] = Field(
        "",
        description="directory of files, named like variables, each with its value: for passwords",
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: Any
    ) -> tuple[Any, ...]:
        """What a caller gives, then variables, then the files of `DISTILQ_SECRETS_DIR`."""
        first = (sources["init_settings"], sources["env_settings"])
        folder = os.environ.get(SECRETS_DIR, "")
        if not (folder and Path(folder).is_dir()):
            return first
        return (*first, SecretsSettingsSource(settings_cls, folder))

    @field_validator("traces")
    @classmethod
    def _can_be_made(cls, traces: Traces) -> Traces:
        if traces == "otlp" and not _has_otel():
            raise ValueError("otlp needs the extra otel: pip install 'distilq[otel]'")
        return traces

    @classmethod
    def from_env(cls) -> Settings:
        """The settings of this process.

        Raises:
            pydantic.ValidationError: a variable has a value that it cannot take.
        """
        return cls()


def _has_otel() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:  # one of its parents is not there
        return False
