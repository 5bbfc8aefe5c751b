"""What docker-compose.yml makes of the images: environment, secrets, volumes, commands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.images.building import Image
from tests.images.container import Container

ROOT = Path(__file__).parents[2]
#: The variable that tells a process of this check where things are.
PREPARED = "DISTILQ_IMAGES_PREPARED"
#: As somebody would set them for `docker compose up`.
CHOSEN = {
    **{"DISTILQ_MODEL": "/model", "DISTILQ_PRECISION": "float32", "DISTILQ_THREADS": "1"},
    "DISTILQ_LOG_LEVEL": "info",
}


@dataclass(frozen=True)
class Prepared:
    """The built images, and a folder for what comes of running them."""

    folder: Path
    api: Image
    worker: Image

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def write(self) -> None:
        self.folder.mkdir()
        images = {"api": asdict(self.api), "worker": asdict(self.worker)}
        (self.folder / "images.json").write_text(json.dumps(images))

    @classmethod
    def read(cls, folder: Path) -> Prepared:
        images = json.loads((folder / "images.json").read_text())
        return cls(folder, Image(**images["api"]), Image(**images["worker"]))


class Compose:
    """Containers of the services of docker-compose.yml, made of what was built."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._file: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    def service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._file["services"][name]
        return found

    def container(self, name: str, host: str, command: list[str] | None = None) -> Container:
        """One of a service, with this name as its host's."""
        service = self.service(name)
        image = {"api": self._prepared.api, "worker": self._prepared.worker}[
            service["build"]["target"]
        ]
        given = [*shlex.split(service.get("entrypoint", "")), *shlex.split(service["command"])]
        return Container(
            host,
            image,
            command or given,
            image.env | interpolated(service["environment"], CHOSEN),
            self._mounts(service),
            self._prepared.folder / f"{host}.log",
        )

    def redis(self, port: int) -> list[str]:
        """Its command, on loopback, with its files where this check has them."""
        data = self._prepared.folder / "redis"
        data.mkdir()
        command = self.service("redis")["command"]
        here = command.replace("/run/secrets/", f"{self._prepared.secrets}/")
        own = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)]
        return [*shlex.split(here), *own]

    def _mounts(self, service: Mapping[str, Any]) -> dict[str, Path]:
        """What lies where: secrets, and a directory for each volume."""
        mounts = {
            f"/run/secrets/{secret['target']}": self._prepared.secrets / secret["source"]
            for secret in service["secrets"]
        }
        for volume in service.get("volumes", []):
            name, target = volume.split(":")
            mounts[target] = self._prepared.folder / f"volume-{name}"
        return mounts


def interpolated(environment: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """`${NAME:-default}` as Compose reads it."""

    def value(match: re.Match[str]) -> str:
        return chosen.get(match[1]) or match[2]

    return {
        name: re.sub(r"\$\{(\w+):-([^}]*)\}", value, text) for name, text in environment.items()
    }
