from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from distilq.cli.app import app
from distilq.cli.table import without_password
from distilq.settings import Settings


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env)


def test_settings_are_objects_for_machines() -> None:
    said = [json.loads(line) for line in run("settings", "--json").stdout.splitlines()]
    assert len(said) == len(Settings.model_fields)
    (rows,) = [each for each in said if each["variable"] == "DISTILQ_MAX_ROWS"]
    assert (rows["value"], rows["default"]) == ("64", "64")


def test_settings_lists_every_variable_with_what_it_is_for() -> None:
    lines = run("settings").output.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [
        f"DISTILQ_{name.upper()}" for name in Settings.model_fields
    ]
    for line, field in zip(lines, Settings.model_fields.values(), strict=True):
        assert field.description is not None
        assert line.endswith(field.description)


def test_settings_shows_the_value_in_force_beside_the_default() -> None:
    (line,) = [
        line
        for line in run("settings", DISTILQ_MAX_ROWS="7").output.splitlines()
        if line.startswith("DISTILQ_MAX_ROWS")
    ]
    assert line.split()[1:3] == ["7", "64"]


def test_settings_hides_the_password_of_redis() -> None:
    said = run("settings", DISTILQ_REDIS_URL="redis://me:secret@redis.example:6379/0")
    assert "redis://me:***@redis.example:6379/0" in said.output
    assert "secret" not in said.output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@ss@h/0", "redis://:***@h/0"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_only_the_password_of_an_address_is_hidden(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_wrong_variable_is_one_line_that_names_it() -> None:
    said = run("settings", DISTILQ_MAX_ROWS="many")
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith("distilq: DISTILQ_MAX_ROWS: ")


def test_a_wrong_option_is_one_line_that_names_it() -> None:
    said = run("up", "--precision", "float128")
    assert said.exit_code == 1
    (line,) = said.stderr.splitlines()
    assert line.startswith("distilq: DISTILQ_PRECISION (or --precision): ")


def test_version_is_the_packages() -> None:
    assert run("version").output.strip() == "0.1.0"
