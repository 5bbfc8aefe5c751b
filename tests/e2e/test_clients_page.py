"""Every shell command of docs/clients.md is answered as its section says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.running import Running, shell_environment

pytestmark = pytest.mark.timeout(400)  # see test_up.py

PAGE = (Path(__file__).parents[2] / "docs/clients.md").read_text()
SECTIONS = re.split(r"^## (.*)\n", PAGE, flags=re.MULTILINE)[1:]
BLOCKS = [
    pytest.param(title, block, id=f"{title}-{number}")
    for title, text in zip(SECTIONS[::2], SECTIONS[1::2], strict=True)
    for number, block in enumerate(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
]
#: What an answer of each section holds, whatever the text is that was drawn.
HOLDS = {
    "One request, whatever the client": "",
    "Server-sent events": "event: done",
    "Sending a request twice": '"status":"',
    "Command line": "Once upon a time,",
    "huggingface_hub": '"generated_text":',
    "The model's card on Azure": "Once upon a time,",
    "OpenAI": '"object":',
    "Files and batches": '"custom_id": "b", "response": {"status_code": 200',
}


@pytest.mark.parametrize(("title", "block"), BLOCKS)
def test_the_command_works(service: Running, tmp_path: Path, title: str, block: str) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    script = block.replace("http://127.0.0.1:8000", service.url).replace(
        '"distilgpt2"', '"bundled"'
    )
    said = subprocess.run(
        ["sh", "-eu"],  # noqa: S607 (a user's shell)
        input=script,
        cwd=tmp_path,
        env=shell_environment(tmp_path, service.url),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert HOLDS[title] in said.stdout


def test_every_section_shows_a_command() -> None:
    assert {block.values[0] for block in BLOCKS} == set(HOLDS)
