"""The live page's files: all there, all our own, nothing in them that a strict policy would stop."""

from __future__ import annotations

import re

import pytest

from otel_ws.monitoring.page import ASSETS, read

NAMES = sorted(name for name, _ in ASSETS.values())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
# A namespace is a name, not an address.
NAMESPACE = "http://www.w3.org/2000/svg"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    """No file names another server."""
    text = read(name).decode().replace(NAMESPACE, "")

    assert [] == re.findall(r"(?:https?:)?//[\w.-]+\.\w+|@import|url\(", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_markup_of_text(name: str) -> None:
    """What came over the network is shown as text, and never read as markup or code."""
    text = read(name).decode()

    assert [] == re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)


def test_the_page_has_nothing_inline() -> None:
    """No script, style or handler stands in the page itself."""
    text = read("index.html").decode()

    assert [] == re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text)


def test_links_are_relative_and_lead_to_files() -> None:
    """Every file that the page and its scripts ask for is served, wherever they are mounted."""
    page = read("index.html").decode()
    asked = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', page))
    for name in SCRIPTS:
        asked |= {found.removeprefix("./") for found in re.findall(r'from "([^"]+)"', read(name).decode())}

    assert {name for name in NAMES if name != "index.html"} == asked
    assert {f"/monitoring/{name}" for name in asked} == set(ASSETS) - {"/monitoring/"}


def test_everything_that_scripts_fill_in_is_there() -> None:
    """Each element that a script asks for by its id is in the page, once."""
    ids = re.findall(r'\bid="([^"]+)"', read("index.html").decode())
    text = "".join(read(name).decode() for name in SCRIPTS)
    wanted = set(re.findall(r'(?:getElementById|say|table|without)\("([^"]+)"', text))

    assert len(ids) == len(set(ids))
    assert set() == wanted - set(ids)


def test_labels_and_headings_are_there() -> None:
    """Every field has a label, every table a caption, every section a heading that names it."""
    page = read("index.html").decode()
    headings = set(re.findall(r'<h\d id="([^"]+)"', page))

    assert page.count("<table") == page.count("<caption")
    assert set(re.findall(r'aria-labelledby="([^"]+)"', page)) <= headings
    fields = re.findall(r"<(?:input|select)", page)
    assert len(fields) == len(re.findall(r"<label[^>]*>[^<]*<(?:input|select)", page))
