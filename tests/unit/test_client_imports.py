"""What a process that uses the SDK loads, and what one that does not is spared."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import distilq

#: What a bare install does not have.
ABSENT = ("torch", "transformers", "flask", "celery", "kombu", "redis", "hiredis", "gunicorn")
BLOCK = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""
USE = """
import asyncio, json, httpx
from distilq import AsyncClient, Client
def refuse(request):
    raise httpx.ConnectError("refused")
transport = httpx.MockTransport(refuse)
told = []
with Client(transport=transport, retries=0) as client:
    for use in (lambda: client.generate("a"), lambda: list(client.map(["a"], progress=True))):
        try:
            use()
        except Exception as error:
            told.append(type(error).__name__)
async def main():
    async with AsyncClient(transport=transport, retries=0) as client:
        try:
            await client.info()
        except Exception as error:
            told.append(type(error).__name__)
asyncio.run(main())
print(json.dumps(told))
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_bare_install_is_enough() -> None:
    assert json.loads(run(BLOCK + USE)) == ["ConnectionFailed"] * 3


COMMANDS = """
import os, sys
from distilq.cli.app import app
os.environ.update(DISTILQ_URL="http://127.0.0.1:1", DISTILQ_REDIS_URL="redis://127.0.0.1:1")
for words in sys.argv[1].split(","):
    try:
        app(words.split())
    except SystemExit as end:
        print(words, end.code)
"""
QUICK = ("version", "settings", "--help", "generate --help", "batch --help")
AWAY = ("generate a", "submit a", "wait 0", "status 0", "cancel 0", "ls", "top", "batch -")


def test_the_client_commands_run_in_the_bare_install() -> None:
    words = ",".join((*QUICK, *AWAY, "doctor"))
    command = [sys.executable, "-c", BLOCK + COMMANDS, words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    codes = [line for line in done.stdout.splitlines() if line[-2:] in (" 0", " 1")]
    for words, code in [*((each, 0) for each in QUICK), *((each, 1) for each in AWAY)]:
        assert f"{words} {code}" in codes, done.stderr
    assert "doctor 1" in codes
    assert "redis     not looked at: redis is not installed here" in done.stdout
    assert "Traceback" not in done.stderr


def test_help_loads_no_client() -> None:
    """Every command pays for what `distilq.cli.app` imports."""
    code = "import distilq.cli.app, json, sys; print(json.dumps(sorted(sys.modules)))"
    assert not {"httpx", "redis", "torch", "flask", "celery"} & set(json.loads(run(code)))


def test_distilq_itself_loads_nothing() -> None:
    """A worker imports it, and has no use for a client."""
    loaded = json.loads(run("import distilq, json, sys; print(json.dumps(sorted(sys.modules)))"))
    assert "distilq" in loaded
    assert not {"httpx", "pydantic", "distilq.client"} & set(loaded)


def test_the_clients_and_nothing_else_can_be_had_of_it() -> None:
    assert [getattr(distilq, name).__name__ for name in distilq.__all__] == distilq.__all__
    with pytest.raises(AttributeError, match="no attribute 'Clients'"):
        getattr(distilq, "Clients")  # noqa: B009 (as a user's mistake would)
