"""The wheel, installed in an environment of its own, is all that is needed."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import distilq, distilq.api.app, distilq.worker.app, distilq.cli.app
import sys
for module in (distilq, distilq.api.app, distilq.worker.app, distilq.cli.app):
    assert module.__file__.startswith(sys.prefix), module.__file__
assert not {"api", "worker"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, so that what the sdist lacks is missed here."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that has the wheel, and sees the dependencies that are installed here."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel],
        check=True,
    )
    # After the wheel's own folder on the path; an editable install is not followed from here.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def test_the_only_top_level_name_is_distilq(wheel: Path) -> None:
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"distilq"}


def test_web_lua_and_model_files_are_in_it(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for here, there in {
        "api/web": "distilq/api/web",
        "api/web/dashboard": "distilq/api/web/dashboard",
        "distilq/lua": "distilq/lua",
        "worker/models/bundled": "distilq/worker/models/bundled",
    }.items():
        files = [f.name for f in (ROOT / here).iterdir() if f.is_file() and f.suffix != ".py"]
        assert files
        assert {f"{there}/{name}" for name in files} <= inside
    assert {"distilq/py.typed", "distilq/cli/tied.py"} <= inside


def test_it_is_imported_from_anywhere(python: Path) -> None:
    subprocess.run([python, "-c", IMPORT_ALL], cwd="/", check=True, timeout=100)


def test_its_command_runs(python: Path) -> None:
    said = subprocess.run(
        [python.with_name("distilq"), "version"], cwd="/", check=True, capture_output=True
    )
    assert said.stdout == b"0.1.0\n"
