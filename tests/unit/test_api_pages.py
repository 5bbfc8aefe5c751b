"""The pages: what they say, what they load, and that their policy allows it."""

from __future__ import annotations

import posixpath
import re

import pytest
from flask.testing import FlaskClient

from api.pages import FILES, VERSION, WEB
from distilq.testing import FAKE_WORKER, MemoryStore
from tests.unit.api_client import make_client

PAGES = ["/", "/about", "/dashboard"]
TEMPLATES = ["index.html", "about.html", "dashboard.html"]
SCRIPTS = sorted(name for name in FILES if name.endswith(".js"))
STYLES = sorted(name for name in FILES if name.endswith(".css"))
IMPORT = re.compile(r'^import .*? from "(.*?)";$', re.MULTILINE)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def client(store: MemoryStore) -> FlaskClient:
    return make_client(store)


def loaded(page: str) -> list[str]:
    """The addresses of what a page loads."""
    return re.findall(r'(?:<script [^>]*src|<link [^>]*href)="([^"]*)"', page)


@pytest.mark.parametrize("path", ["/", "/about"])
def test_a_page_warns_in_the_words_of_the_card(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    assert "has to be true" in page
    assert "biases" in page
    assert 'href="https://huggingface.co/distilbert/distilgpt2"' in page
    assert 'href="openapi.json"' in page
    assert 'href="dashboard"' in page


def test_about_says_what_serves(client: FlaskClient, store: MemoryStore) -> None:
    store.alive.append(FAKE_WORKER.model_copy(update={"source": "<script>"}))
    page = client.get("/about").text
    assert "float32" in page
    assert "&lt;script&gt;" in page


def test_about_says_when_nothing_serves(client: FlaskClient, store: MemoryStore) -> None:
    assert "No worker is running" in client.get("/about").text
    store.down = True
    assert "The queue cannot be reached" in client.get("/about").text


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_while_redis_is_away(
    client: FlaskClient, store: MemoryStore, path: str
) -> None:
    store.down = True
    assert client.get(path).status_code == 200


def test_the_dashboard_leads_back(client: FlaskClient) -> None:
    page = client.get("/dashboard").text
    assert 'href="./"' in page
    assert 'href="about"' in page


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_nothing_that_its_security_policy_forbids(
    client: FlaskClient, path: str
) -> None:
    response = client.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=|<img|<iframe", response.text)
    addresses = loaded(response.text)
    assert addresses.count("data:,") == 1
    for address in addresses:
        assert address == "data:," or client.get(f"/{address}").status_code == 200


def test_what_is_no_page_may_load_nothing(client: FlaskClient) -> None:
    policy = client.get("/v1/info").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; base-uri")


@pytest.mark.parametrize("name", [*SCRIPTS, *STYLES])
def test_a_file_has_its_type_and_is_kept_for_as_long_as_its_address_lives(
    client: FlaskClient, name: str
) -> None:
    response = client.get(f"/web/{VERSION}/{name}")
    assert response.mimetype == ("text/css" if name in STYLES else "text/javascript")
    assert "immutable" in response.headers["Cache-Control"]
    known = {"If-None-Match": response.headers["ETag"]}
    assert client.get(f"/web/{VERSION}/{name}", headers=known).status_code == 304


def test_a_file_of_another_release_is_not_kept(client: FlaskClient) -> None:
    response = client.get("/web/0000/base.css")
    assert response.status_code == 200
    assert "no-cache" in response.headers["Cache-Control"]


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..", "%2e%2e%2fpages.py", ""])
def test_nothing_else_is_a_file(client: FlaskClient, name: str) -> None:
    assert client.get(f"/web/{VERSION}/{name}").status_code == 404


def test_every_file_is_loaded_by_a_page_or_a_script() -> None:
    pages = "".join((WEB / name).read_text() for name in TEMPLATES)
    used = {address.partition("}}/")[2] for address in loaded(pages)} - {""}
    for name in SCRIPTS:
        for each in IMPORT.findall(FILES[name].decode()):
            used.add(posixpath.normpath(posixpath.join(posixpath.dirname(name), each)))
    assert used == set(FILES)


@pytest.mark.parametrize("name", STYLES)
def test_a_style_sheet_loads_nothing(name: str) -> None:
    assert not re.search(rb"url\(|@import", FILES[name])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_makes_no_markup_and_names_no_other_address(name: str) -> None:
    forbidden = rb"innerHTML|outerHTML|insertAdjacent|document\.write|https?:"
    assert not re.search(forbidden, FILES[name])


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_is_short_enough_to_be_read(name: str) -> None:
    assert FILES[name].count(b"\n") < (300 if name in STYLES else 200)
