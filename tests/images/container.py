"""A process in a built root file system, as confined as docker-compose.yml wants it.

Namespaces of its own for mounts, processes, names and memory; the root read-only; the image's user,
without capabilities or a way to get any. The program is the first process there, as it is in a
container without `init`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.images.building import Image

#: Arguments: root, host name, then pairs of source and target until --, then the command.
CONFINE = """
mount --make-rprivate /
root=$1; hostname "$2"; shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind -o ro /sys "$root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
while [ "$1" != -- ]; do
    mkdir -p "$(dirname "$root$2")"
    if [ ! -d "$1" ]; then touch "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
shift
mount -o remount,bind,ro "$root"
exec chroot "$root" "$@"
"""
NAMESPACES = ("--mount", "--uts", "--ipc", "--pid")
#: Seconds in which whatever was asked for has to have happened.
PATIENCE_S = 300.0


class Container:
    def __init__(
        self,
        host: str,
        image: Image,
        command: list[str],
        env: Mapping[str, str],
        mounts: Mapping[str, Path],
        log: Path,
    ) -> None:
        self.host = host
        self.image = image
        self.log = log
        self._command = command
        self._env = [f"{name}={value}" for name, value in env.items()]
        self._mounts = mounts
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Container:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._whole(), stdout=log, stderr=log)
        return self

    def run(self) -> str:
        """What the command writes, once it has ended well."""
        with self.log.open("ab") as log:
            done = subprocess.run(self._whole(), stdout=subprocess.PIPE, stderr=log, text=True)
        assert done.returncode == 0, (done.returncode, done.stdout, self.log.read_text())
        return done.stdout

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command beside the one that runs, as the engine runs a healthcheck."""
        entered = ["nsenter", "--target", str(self.pid), *NAMESPACES, "--root", "--wd"]
        words = [*entered, *self._as_user(), *command]
        return subprocess.run(words, capture_output=True, text=True)

    @property
    def pid(self) -> int:
        """Of the container's first process, as seen from outside."""
        assert self._process is not None
        [first] = psutil.Process(self._process.pid).children()
        return first.pid

    def send(self, signum: signal.Signals) -> None:
        psutil.Process(self.pid).send_signal(signum)

    def ended(self) -> int:
        """Its exit status, once it has one."""
        assert self._process is not None
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait()

    def healthy(self) -> bool:
        return self.inside(*self.image.healthcheck).returncode == 0

    def _whole(self) -> list[str]:
        # Directories are volumes: Docker gives a new one to whom the image's directory belongs to.
        pairs: list[str] = []
        for target, source in self._mounts.items():
            if not source.exists():
                source.mkdir()
                owner = Path(self.image.root + target).stat()
                os.chown(source, owner.st_uid, owner.st_gid)
            pairs += [str(source), target]
        unshared = ["unshare", *NAMESPACES, "--fork", "--kill-child", "sh", "-euc", CONFINE, "sh"]
        return [
            *(*unshared, self.image.root, self.host, *pairs, "--"),
            *(*self._as_user(), *self._command),
        ]

    def _as_user(self) -> list[str]:
        user, group = self.image.user.split(":")
        return [
            *("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"),
            *("--bounding-set=-all", "--inh-caps=-all", "env", "-i", *self._env),
        ]


def until(what: str, condition: Callable[[], object]) -> None:
    """Wait for something, and say what it was if it does not happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen: {what}"
        time.sleep(0.1)
