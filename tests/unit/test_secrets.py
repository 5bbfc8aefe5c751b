"""Secrets from files, and those that `make secrets` writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from deploy import secrets
from distilq import acl
from distilq.cli import programs
from distilq.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of secrets that this process' settings are read from."""
    monkeypatch.setenv("DISTILQ_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_a_file_stands_for_a_variable_and_a_variable_goes_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "distilq_redis_url").write_text("redis://a:secret@h/0\n")
    assert Settings.from_env().redis_url == "redis://a:secret@h/0"
    assert "redis_url" in Settings.from_env().model_fields_set
    monkeypatch.setenv("DISTILQ_REDIS_URL", "redis://other/0")
    assert Settings.from_env().redis_url == "redis://other/0"
    assert Settings(redis_url="redis://third/0").redis_url == "redis://third/0"


def test_a_directory_that_is_not_there_is_an_error_that_names_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTILQ_SECRETS_DIR", str(folder / "gone"))
    with pytest.raises(ValidationError, match=r"secrets_dir\n.*gone is no directory"):
        Settings.from_env()


def test_programs_are_given_values_and_not_the_directory(folder: Path) -> None:
    (folder / "distilq_webhook_secrets").write_text("whsec_a")
    (folder / "distilq_redis_url").write_text("redis://h/0")
    env = programs.environment(Settings.from_env())
    assert env["DISTILQ_REDIS_URL"] == "redis://h/0"
    assert not env["DISTILQ_SECRETS_DIR"]
    assert "whsec_a" not in str(env)


def test_secrets_are_made_once_and_only_their_maker_gets_at_them(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = secrets.write(folder, ["m"], "redis:6379")
    (folder / secrets.KEY).write_text("dq_0_a")  # as `admin keys create` fills it
    first = {path.name: path.read_text() for path in made}
    again = {path.name: path.read_text() for path in secrets.write(folder, ["m"], "redis:6379")}
    assert first == again
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in made:  # by a container's user too, to whom the file alone is given
        assert path.stat().st_mode & 0o444 == 0o444
    others = secrets.write(tmp_path / "others", ["m"], "redis:6379")
    assert not {path.read_text() for path in others} & set(first.values())


def test_the_users_are_those_of_distilq_acl_and_their_passwords_are_hashed(tmp_path: Path) -> None:
    secrets.write(tmp_path, ["gpt2", "bundled"], "redis:6379")
    users = (tmp_path / "users.acl").read_text()
    for line, user in zip(acl.lines(["gpt2", "bundled"]), secrets.USERS.values(), strict=True):
        _, rules = line.split(f">{user.password} ")
        assert f"\nuser {user.name} reset on #" in users
        assert rules in users
    for name in secrets.USERS:
        url = (tmp_path / f"{name}-redis-url").read_text()
        assert url.split(":")[2].split("@")[0] not in users


def test_an_address_without_a_password_is_said_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "api-redis-url").write_text("redis://somebody@h/0")
    with pytest.raises(SystemExit, match="api-redis-url is not redis://distilq-api:"):
        secrets.write(tmp_path, ["m"], "redis:6379")
    assert (tmp_path / "api-redis-url").read_text() == "redis://somebody@h/0"


def test_nothing_but_python_is_needed_to_make_them(tmp_path: Path) -> None:
    code = "import sys; sys.path.append('.'); from deploy.secrets import main; main()"
    # -I and -S: nothing of what is installed is found.
    command = [sys.executable, "-IS", "-c", code, "--folder", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert (tmp_path / "users.acl").exists()
