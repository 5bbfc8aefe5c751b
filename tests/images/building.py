"""The images of the Dockerfile, built by buildah in a chroot, and what they say of themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: The authorities that this machine trusts, for an index behind one of its own.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
#: Of pip's variables, those that tell of its index.
INDEX = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")


@dataclass(frozen=True)
class Image:
    """A root file system, and how its image wants to be run."""

    root: str
    user: str
    env: dict[str, str]
    command: list[str]
    healthcheck: list[str]
    stop_signal: str

    @property
    def packages(self) -> Path:
        [found] = Path(self.root).glob("opt/distilq/lib/python3.*/site-packages")
        return found


class Builder:
    """All that it makes is in `folder`."""

    def __init__(self, folder: Path, wheels: Path | None) -> None:
        self.folder = folder
        self._wheels = wheels
        self._storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]

    def call(self, *words: str) -> str:
        command = ["buildah", *self._storage, *words]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def build(self, target: str, base: str, model: Path) -> Image:
        print(f"building {target}", file=sys.stderr)
        name = f"localhost/distilq-{target}"
        log = self.folder / f"build-{target}.log"
        words = [
            *("bud", "--isolation", "chroot", "--pull-never", "--format", "docker", "--layers"),
            *("--logfile", str(log), "--build-arg", f"BASE={base}", *self._given(model)),
            *("--target", target, "--tag", name, str(ROOT)),
        ]
        try:
            self.call(*words)
        except subprocess.CalledProcessError:
            sys.exit(f"{target} cannot be built:\n{log.read_text()[-4000:]}")
        return self._image(name)

    def remove(self) -> None:
        for words in (("rm", "--all"), ("rmi", "--all", "--force")):
            self.call(*words)

    def _given(self, model: Path) -> list[str]:
        """Contexts and files that a build on this machine needs."""
        config = self.folder / "pip.conf"
        lines = [
            f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {os.environ[name]}\n"
            for name in INDEX
            if name in os.environ
        ]
        config.write_text("[global]\n" + "".join(lines))
        given = ["--volume", f"{config}:/etc/pip.conf:ro", "--build-context", f"model={model}"]
        if AUTHORITIES.exists():
            given += ["--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"]
        if self._wheels is not None:  # then torch is there, and PyTorch's index need not be
            given += ["--build-context", f"wheels={self._wheels.absolute()}"]
            given += ["--build-arg", "TORCH_INDEX="]
        return given

    def _image(self, name: str) -> Image:
        config: dict[str, Any] = json.loads(self.call("inspect", "--type", "image", name))
        config = config["Docker"]["config"]
        return Image(
            root=self.call("mount", self.call("from", "--pull-never", name)),
            user=config["User"],
            env=dict(each.split("=", 1) for each in config["Env"]),
            command=config["Cmd"],
            healthcheck=config["Healthcheck"]["Test"][1:],
            stop_signal=config["StopSignal"],
        )
