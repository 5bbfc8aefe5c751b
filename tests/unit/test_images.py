"""Images and compose, as far as files tell, before anything is built."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from distilq.cli.app import app
from distilq.cli.programs import API_STOP_S, GOODBYE_S
from distilq.cli.redis_server import COMPACT
from distilq.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
#: Those with an image of ours.
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
URL = "distilq_redis_url"


def stage(name: str) -> str:
    """The instructions of one stage of the Dockerfile."""
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.M | re.S)
    assert found, name
    return found[1]


def commands(text: str) -> list[list[str]]:
    return [yaml.safe_load(words) for words in re.findall(r"^CMD (\[.*\])$", text, re.M)]


def test_the_compose_file_is_one_by_the_specifications_schema() -> None:
    command = ["check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    said = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("target", ["api", "worker"])
def test_an_image_runs_as_a_number_and_has_a_healthcheck_that_is_there(target: str) -> None:
    instructions = stage(target)
    [user] = re.findall(r"^USER (.*)$", instructions, re.M)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert "STOPSIGNAL SIGTERM" in instructions
    [words] = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", instructions, re.M)
    python, option, module = yaml.safe_load(words)
    assert (python, option) == ("python", "-m")
    assert import_module(module.removeprefix("distilq.")).why_not


@pytest.mark.parametrize("target", ["api", "worker"])
def test_compose_runs_the_command_of_the_image_whose_modules_are_there(target: str) -> None:
    command = SERVICES[target]["command"]
    assert [command.split()] == commands(stage(target))
    modules = re.findall(r"distilq\.[\w.]+", command)
    assert modules
    for module in modules:
        assert import_module(module.removeprefix("distilq.")).__file__


def test_what_an_image_is_made_of_is_all_that_is_sent_to_the_builder() -> None:
    first, *rest = (ROOT / ".dockerignore").read_text().splitlines()
    assert first == "*"
    kept = {line[1:] for line in rest if line.startswith("!")}
    assert kept == {
        *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
        *("distilq", "api", "worker"),
    }
    for name in kept:
        assert (ROOT / name).exists(), name


def test_every_stage_that_is_copied_from_is_there_and_the_api_takes_nothing_of_torch() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)
    names = {name for _, name in stages}
    assert set(re.findall(r"from=([\w-]+)", DOCKERFILE)) <= names
    assert ("build", "build-api") in stages
    assert "torch" not in stage("api") + stage("build-api") + stage("build")


def test_every_container_is_confined() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name


def test_only_the_api_and_grafana_are_published_and_only_on_loopback() -> None:
    published = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert set(published) == {"api", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    assert SERVICES["redis"]["networks"] == ["store"]
    assert COMPOSE["networks"]["store"]["internal"] is True


def test_services_set_only_settings_that_there_are() -> None:
    known = {f"DISTILQ_{name.upper()}" for name in Settings.model_fields}
    for name, service in OURS.items():
        given = {key for key in service["environment"] if key.startswith("DISTILQ_")}
        assert given <= known, name


def test_every_service_has_the_address_of_its_own_redis_user_and_no_other_secret() -> None:
    for name, service in OURS.items():
        user = "worker" if name.startswith("worker") else name
        assert service["secrets"] == [{"source": f"{user}-redis-url", "target": URL}], name
        assert service["environment"]["DISTILQ_SECRETS_DIR"] == "/run/secrets", name
        assert "DISTILQ_REDIS_URL" not in service["environment"], name


def test_every_secret_that_is_named_is_one_of_the_file() -> None:
    wanted = {
        secret if isinstance(secret, str) else secret["source"]
        for service in SERVICES.values()
        for secret in service.get("secrets", [])
    }
    assert wanted == set(COMPOSE["secrets"])


def test_redis_keeps_what_it_is_given_and_asks_who_is_there() -> None:
    command = SERVICES["redis"]["command"]
    assert "--aclfile /run/secrets/users.acl" in command
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    for name, value in COMPACT.items():
        assert f"--{name} {value}" in command


def test_containers_are_given_the_time_to_stop() -> None:
    drain_s = Settings.model_fields["drain_s"].default
    assert float(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > drain_s + GOODBYE_S
    assert API_STOP_S < 10  # Docker's own patience


def test_profiles_bring_what_is_not_always_wanted() -> None:
    found = {
        name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service
    }
    assert found == {
        "worker-gpu": ["gpu"],
        "webhooks": ["webhooks"],
        "admin": ["admin"],
        "prometheus": ["observability"],
        "grafana": ["observability"],
    }
    [device] = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert SERVICES["worker-gpu"]["build"]["args"] == {"TORCH": "cuda"}


def test_the_dispatcher_alone_knows_the_secrets_of_webhooks() -> None:
    command = SERVICES["webhooks"]["command"].split()
    assert command[0] == "distilq"
    assert CliRunner().invoke(app, [*command[1:], "--help"]).exit_code == 0
    told = [n for n, s in SERVICES.items() if "WEBHOOK_SECRETS" in str(s.get("environment"))]
    assert told == ["webhooks"]


def test_the_api_asks_for_keys_unless_told_otherwise_by_name() -> None:
    assert "-b 0.0.0.0:" in SERVICES["api"]["command"]
    assert SERVICES["api"]["environment"]["DISTILQ_AUTH"] == "${DISTILQ_AUTH:-auto}"


def test_every_file_that_is_mounted_is_there() -> None:
    mounted = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    ]
    for source in mounted:
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
