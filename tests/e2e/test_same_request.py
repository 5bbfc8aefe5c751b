"""The first section of docs/clients.md: the same request by every client gives the same text."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running import Running, shell_environment

pytestmark = pytest.mark.timeout(400)  # see test_up.py

PAGE = (Path(__file__).parents[2] / "docs/clients.md").read_text()
SECTION = PAGE.split("## One request, whatever the client\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
PROGRAMS = {
    "sh": ["sh", "-eu"],
    "python": [sys.executable, "-"],
    "js": ["node", "--input-type=module"],
}


def run(service: Running, home: Path, language: str, block: str) -> str:
    said = subprocess.run(
        PROGRAMS[language],
        input=block.replace("http://127.0.0.1:8000", service.url).replace("distilgpt2", "bundled"),
        # huggingface_hub reaches no service at all where it is told to stay offline.
        env=shell_environment(home, service.url) | {"HF_HUB_OFFLINE": "0"},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    return said.stdout.strip()


def test_they_all_say_the_same(service: Running, tmp_path: Path) -> None:
    blocks = [(language, block) for language, block in BLOCKS if language != "js"]
    assert len(blocks) == 5
    texts = {run(service, tmp_path, *block) for block in blocks}
    assert len(texts) == 1
    assert len(texts.pop()) > 20


def test_javascript_says_it_too(service: Running, tmp_path: Path) -> None:
    if shutil.which("node") is None:
        if "CI" in os.environ:
            pytest.fail("node is missing: see .ci/packages")
        pytest.skip("there is no node on this machine")
    (script,) = [block for language, block in BLOCKS if language == "js"]
    assert run(service, tmp_path, "js", script) == run(service, tmp_path, *BLOCKS[0])
