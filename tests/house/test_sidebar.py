"""The tree of pages beside each page is made from titles, and from the tables of further pages below them."""

import importlib.util
from pathlib import Path

import pytest

nodes = pytest.importorskip("docutils.nodes")
addnodes = pytest.importorskip("sphinx.addnodes")

FILE = Path(__file__).parents[2] / "docs" / "_ext" / "sidebar.py"
spec = importlib.util.spec_from_file_location("sidebar", FILE)
sidebar = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sidebar)


def item(text, *below):
    inside = [nodes.bullet_list("", *below)] if below else []
    return nodes.list_item("", nodes.paragraph("", text), *inside)


def test_sections_go_and_tables_of_pages_stay_with_what_is_above_them():
    table = addnodes.toctree(entries=[(None, "further")])
    toc = nodes.bullet_list("", item("page", item("section", item("name")), item("more", table)))
    found = sidebar.titles(toc)
    assert [p.astext() for p in found.findall(nodes.paragraph)] == ["page", "more"]
    assert len(list(found.findall(addnodes.toctree))) == 1
    assert len(list(toc.findall(nodes.paragraph))) == 4  # the page's own table has all of them
