"""The shell commands that the pages show, and why some of them are not run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"])

#: What a machine that runs tests need not have.
NEEDS = {"docker": "a Docker engine", "kubectl": "a cluster", "helm": "a cluster"}

HEADING = re.compile(r"^##+ (.*)$", re.MULTILINE)
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?:sh|bash|console)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of commands, under its heading."""

    page: str
    section: str
    number: int
    text: str
    #: Why no test runs it; what runs it instead is said too.
    why_not: str | None

    @property
    def name(self) -> str:
        return f"{self.page}-{self.section}-{self.number}"


def blocks(page: Path) -> list[Block]:
    """Those of a page, in their order."""
    text, found = page.read_text(), []
    for number, fence in enumerate(FENCE.finditer(text)):
        section = HEADING.findall(text[: fence.start()])[-1]
        why_not = fence["reason"] or _needs(fence["text"])
        found.append(Block(page.stem, section, number, fence["text"], why_not))
    return found


def _needs(text: str) -> str | None:
    programs = {line.split()[0] for line in text.splitlines() if line.strip()}
    needed = [NEEDS[program] for program in sorted(programs & NEEDS.keys())]
    return f"needs {needed[0]}" if needed else None


ALL = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in ALL if block.why_not is None]
