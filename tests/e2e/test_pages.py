"""Every shell command of the pages in docs/ is answered as its section says, or has its reason."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.pages import ALL, PAGES, ROOT, RUN, Block
from tests.e2e.running import Running, shell_environment

pytestmark = pytest.mark.timeout(400)  # see test_up.py

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
    "What a precision costs: `distilq evaluate`": "bits per byte",
    "Keys": "nightly",
    "Redis": "ACL SETUSER distilq-webhooks",
}


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_the_command_works(service: Running, tmp_path: Path, block: Block) -> None:
    (tmp_path / ".curlrc").write_text("fail-with-body\nmax-time = 60\n")
    (tmp_path / "FILE").write_text("It was a cold morning in London, and the old man was there.\n")
    script = block.text.replace("http://127.0.0.1:8000", service.url).replace(
        '"distilgpt2"', '"bundled"'
    )
    variables = {"DISTILQ_DATA_DIR": str(service.log.parent / "data")}
    said = subprocess.run(
        ["sh", "-eu"],  # noqa: S607 (a user's shell)
        input=script,
        cwd=tmp_path,
        env=shell_environment(tmp_path, service.url) | variables,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert HOLDS[block.section] in said.stdout


def test_every_section_that_is_looked_at_shows_a_command() -> None:
    assert {block.section for block in RUN} == set(HOLDS)


def test_what_is_not_run_has_its_reason() -> None:
    for block in ALL:
        if block.why_not is not None:
            assert len(block.why_not.split()) > 2, block.name
            for path in re.findall(r"tests/[\w/.]+\.py", block.why_not):
                assert (ROOT / path).exists(), block.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_in_a_block_that_names_no_shell(page: Path) -> None:
    programs = ("$", "curl", "distilq", "make", "pip", "python", "docker", "gunicorn", "celery")
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    for language, text in fences:
        if language in ("", "text"):
            assert not text.startswith(programs), text
