"""The pages that people wrote, from wherever they lie, with their links as the site needs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Those that lie at the root, and their names in the site.
OF_THE_ROOT = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
PICTURES = ("images", "plots")
STYLE = Path(__file__).with_name("site.css")

LINK = re.compile(r'(\]\(|(?:src|srcset)=")([^)"#:]+)(?=[)"#])')
TABLE = re.compile(r"(^## Settings\n).*?(?=^`make docs`)", re.MULTILINE | re.DOTALL)


def copy(folder: Path) -> None:
    """Put them all, the pictures and the style sheet into `folder`."""
    folder.mkdir()
    for page in DOCS.glob("*.md"):
        (folder / page.name).write_text(linked(page))
    for name, in_site in OF_THE_ROOT.items():
        (folder / in_site).write_text(linked(ROOT / name))
    home = folder / "index.md"
    home.write_text(
        TABLE.sub(
            r"\1\n[All of them](settings.md) are environment variables.\n\n", home.read_text()
        )
    )
    for name in PICTURES:
        shutil.copytree(DOCS / name, folder / name)
    shutil.copy(STYLE, folder)


def linked(page: Path) -> str:
    """The text of a page whose links lead where the files are in the site."""

    def in_site(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        if target.parent == ROOT:
            return link[1] + OF_THE_ROOT[target.name]
        return link[1] + str(target.relative_to(DOCS))

    return LINK.sub(in_site, page.read_text())
