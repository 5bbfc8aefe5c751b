"""The house itself: floors, names, pins, targets."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def named_by_pyproject() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    groups = PROJECT["dependency-groups"].values()
    lists = [PROJECT["project"]["dependencies"], *extras, *groups]
    return [Requirement(line) for lines in lists for line in lines if "distilq[" not in line]


def pins(name: str, python: str) -> list[Requirement]:
    return [
        pin
        for pin in constraints()
        if canonicalize_name(pin.name) == canonicalize_name(name)
        and (pin.marker is None or pin.marker.evaluate({"python_version": python}))
    ]


@pytest.mark.parametrize("python", PYTHONS)
def test_whatever_pyproject_names_has_one_pin_that_it_allows(python: str) -> None:
    for wanted in named_by_pyproject():
        if wanted.marker and not wanted.marker.evaluate({"python_version": python}):
            continue
        (pin,) = pins(wanted.name, python)
        (version,) = [specifier.version for specifier in pin.specifier]
        assert wanted.specifier.contains(version), f"{wanted} but {pin}"


def test_every_constraint_is_one_exact_public_version() -> None:
    for pin in constraints():
        assert re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), pin


def test_the_floors_hold() -> None:
    said = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("name", ["api", "worker"])
def test_inside_a_service_siblings_are_imported_relatively(name: str) -> None:
    absolute = re.compile(rf"^\s*(?:from|import) (?:distilq\.)?{name}(?:\.| |$)", re.MULTILINE)
    for file in (ROOT / name).rglob("*.py"):
        assert not absolute.search(file.read_text()), file


@pytest.mark.parametrize("name", ["api", "worker"])
def test_one_process_never_holds_a_service_under_both_names(name: str) -> None:
    code = (
        f"import sys, distilq.{name}.app; names = list(sys.modules);"
        f"assert not [m for m in names if m == '{name}' or m.startswith('{name}.')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=100)


def test_every_package_folder_is_in_the_wheel() -> None:
    folders = {
        str(file.parent.relative_to(ROOT)).replace("/", ".")
        for top in ("distilq", "api", "worker")
        for file in (ROOT / top).rglob("__init__.py")
    }
    installed = {re.sub(r"^(api|worker)\b", r"distilq.\1", folder) for folder in folders}
    assert installed == set(PROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.parametrize(
    "target",
    [
        "run",
        "test",
        "install",
        "dev",
        "format",
        "lint",
        "types",
        "floors",
        "audit",
        "browser",
        "screenshots",
        "docs",
        "secrets",
        "images-check",
        "chaos",
        "bench",
        "peers",
        "peers-full",
        "clean",
    ],
)
def test_the_makefile_has_its_targets(target: str) -> None:
    rules = re.findall(r"^([a-z0-9 -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target in " ".join(rules).split()
    command = ["make", "-n", target]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def test_ci_calls_exactly_make_test() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [line for line in lines if "make" in line] == ["exec make test"]
