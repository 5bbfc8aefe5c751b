"""The documentation as a site: whole, and nothing of it comes from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from api.openapi import document
from distilq.settings import Settings

pytestmark = pytest.mark.timeout(400)  # see test_up.py

#: What a browser loads without being asked.
LOADED = {"script": "src", "link": "href", "img": "src", "source": "srcset", "iframe": "src"}


class Addresses(HTMLParser):
    """What a page loads, and where it leads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.links: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if address := found.get(LOADED.get(tag, "")):
            self.loaded.add(address)
        if tag == "a" and (address := found.get("href")):
            self.links.add(address)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Addresses]:
    return {page: Addresses(page) for page in site.glob("*.html")}


def test_its_pages_are_those_of_the_navigation(pages: dict[Path, Addresses]) -> None:
    nav = (Path(__file__).parents[2] / "docs/zensical.toml").read_text()
    named = set(re.findall(r'"([a-z-]+)\.md"', nav))
    assert {page.stem for page in pages} == {*named, "404"}


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Addresses]) -> None:
    for page, addresses in pages.items():
        assert addresses.loaded
        for address in addresses.loaded:
            parts = urlsplit(address)
            assert parts.scheme in ("", "data"), f"{page.name}: {address}"
            assert not parts.netloc, f"{page.name}: {address}"


def test_its_style_sheets_load_nothing_from_elsewhere(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_whatever_it_loads_or_leads_to_is_there(pages: dict[Path, Addresses]) -> None:
    for page, addresses in pages.items():
        if page.stem == "404":  # its own are absolute: nobody knows where it will be shown
            continue
        for address in addresses.loaded | addresses.links:
            parts = urlsplit(address)
            if not parts.scheme and parts.path:
                assert (page.parent / unquote(parts.path)).exists(), f"{page.name}: {address}"


def test_the_reference_has_every_operation_and_object(site: Path) -> None:
    reference, objects = (site / name for name in ("api.html", "api-objects.html"))
    for path, item in document()["paths"].items():
        for method in item.keys() - {"parameters"}:
            assert f'id="{item[method]["operationId"]}"' in reference.read_text(), (method, path)
    for name in document()["components"]["schemas"]:
        assert f'id="{name}"' in objects.read_text(), name


def test_the_settings_are_there(site: Path) -> None:
    text = (site / "settings.html").read_text()
    for name in Settings.model_fields:
        assert f"<code>DISTILQ_{name.upper()}</code>" in text
    assert "random:distilgpt2" in text
