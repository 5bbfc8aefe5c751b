"""`make secrets`: passwords for docker-compose.yml, and Redis' file of users, in deploy/secrets.

Nothing but Python is needed: `python3 -m deploy.secrets`. A password that is there stays; the users
are written anew, for the models that are named: `--model /model`, besides those of `MODELS`.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from distilq import acl

FOLDER = Path(__file__).parent / "secrets"
#: Whose queues the users may reach in any case: by docker-compose.yml, and what is in the images.
MODELS = ("distilgpt2", "bundled", "/model")
#: A file each, with the address of Redis for this user.
USERS = {"api": acl.API, "worker": acl.WORKER, "webhooks": acl.WEBHOOKS}
ADMIN = "distilq-admin"
#: Empty until `admin keys create` has filled it: whatever a shell's umask, Prometheus may read it.
KEY = "prometheus-api-key"
#: Who has not said who he is may ask whether Redis is there, as its healthcheck does.
DEFAULT = "user default reset on nopass -@all +ping"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make secrets", description=__doc__)
    parser.add_argument("--model", action="append", default=[], help="served too; repeatable")
    parser.add_argument("--host", default="redis:6379", help="of Redis, for the others")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    models = dict.fromkeys([*MODELS, *options.model])
    for path in write(options.folder, models, options.host):
        print(path)


def write(folder: Path, models: Iterable[str], host: str) -> list[Path]:
    """Every file there is now."""
    # Containers read their files as users of their own, so these are for all to read; who may not
    # enter the directory reads none of them.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    urls = {name: folder / f"{name}-redis-url" for name in (*USERS, "admin")}
    passwords = {
        name: _password(path, ADMIN if name == "admin" else USERS[name].name, host)
        for name, path in urls.items()
    }
    users, grafana, key = (folder / name for name in ("users.acl", "grafana-password", KEY))
    _write(users, "".join(f"{line}\n" for line in _users(passwords, list(models))))
    if not grafana.exists():
        _write(grafana, secrets.token_urlsafe(24))
    _write(key, key.read_text() if key.exists() else "")
    return [*urls.values(), users, grafana, key]


def _password(path: Path, user: str, host: str) -> str:
    """That of an address which is there, or a new one in a new address."""
    if path.exists():
        password = path.read_text().partition(f"{user}:")[2].partition("@")[0]
        if not password:
            raise SystemExit(f"{path} is not redis://{user}:PASSWORD@HOST/0: mend it or delete it")
    else:
        password = secrets.token_urlsafe(32)
    _write(path, f"redis://{user}:{password}@{host}/0\n")
    return password


def _users(passwords: dict[str, str], models: list[str]) -> list[str]:
    """The lines of an ACL file, with the passwords' hashes."""
    lines = [DEFAULT, f"user {ADMIN} reset on >{passwords['admin']} ~* &* +@all"]
    for name, user in USERS.items():
        line = replace(user, password=passwords[name]).line(models, db=0)
        lines.append(line.replace("ACL SETUSER", "user", 1))
    for password in passwords.values():
        digest = hashlib.sha256(password.encode()).hexdigest()
        lines = [line.replace(f">{password}", f"#{digest}") for line in lines]
    return lines


def _write(path: Path, text: str) -> None:
    """All of it or nothing, whatever dies meanwhile."""
    new = path.with_name(f".{path.name}")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)


if __name__ == "__main__":
    main()
