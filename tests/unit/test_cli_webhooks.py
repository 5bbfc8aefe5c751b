"""`distilq webhooks`, and what `distilq up` makes of the settings."""

from __future__ import annotations

import base64
from typing import cast

import pytest
from typer.testing import CliRunner, Result

from distilq.cli import programs, up
from distilq.cli.app import app
from distilq.cli.errors import CannotRun
from distilq.cli.ports import free_port
from distilq.cli.supervisor import Supervisor
from distilq.settings import Settings
from distilq.webhooks.signing import read_secrets

SECRET = "whsec_" + base64.b64encode(b"only the dispatcher may know this").decode()
HOSTS = {"DISTILQ_WEBHOOK_HOSTS": "hooks.example.com"}


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env)


def test_a_new_secret_is_one() -> None:
    [key] = read_secrets(run("webhooks", "secret").output.strip())
    assert len(key) == 32
    assert run("webhooks", "secret").output != run("webhooks", "secret").output


@pytest.mark.parametrize("secrets", ["", "whsec_", SECRET + "!", ",".join([SECRET] * 3)])
def test_without_usable_secrets_nothing_starts(secrets: str) -> None:
    said = run("webhooks", "run", **HOSTS, DISTILQ_WEBHOOK_SECRETS=secrets)
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith("distilq: DISTILQ_WEBHOOK_SECRETS ")
    assert SECRET not in said.output
    settings = Settings(webhook_hosts="hooks.example.com", webhook_secrets=secrets)
    with pytest.raises(CannotRun, match="DISTILQ_WEBHOOK_SECRETS"):
        up._prepare(cast(Supervisor, None), settings, up.Listen("127.0.0.1", free_port()))


def test_without_hosts_there_is_nobody_to_tell() -> None:
    said = run("webhooks", "run", DISTILQ_WEBHOOK_SECRETS=SECRET)
    assert said.exit_code == 1
    assert said.stderr.startswith("distilq: set DISTILQ_WEBHOOK_HOSTS")


def test_a_list_that_is_none_is_one_line_that_names_the_variable() -> None:
    said = run("settings", DISTILQ_WEBHOOK_HOSTS="https://hooks.example.com/")
    assert said.exit_code == 1
    assert said.stderr.startswith("distilq: DISTILQ_WEBHOOK_HOSTS: ")


def test_settings_never_shows_a_secret() -> None:
    said = run("settings", DISTILQ_WEBHOOK_SECRETS=SECRET)
    assert said.exit_code == 0
    assert SECRET not in said.output
    assert SECRET not in repr(Settings(webhook_secrets=SECRET))


def test_only_the_dispatcher_is_given_the_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILQ_WEBHOOK_SECRETS", SECRET)
    settings = Settings(webhook_hosts="hooks.example.com")
    for program in programs.api(settings, "h", 1), programs.worker(settings, 1, 1, 1):
        assert SECRET not in program.env.values()
    dispatcher = programs.webhooks(settings)
    assert dispatcher.env["DISTILQ_WEBHOOK_SECRETS"] == SECRET
    assert SECRET not in " ".join(dispatcher.command)
