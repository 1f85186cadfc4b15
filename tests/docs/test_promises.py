"""Every promise names what shows it, and that is there."""

import ast
import re

import pytest

from tests.support.servers import ROOT

PROMISES = (ROOT / "docs" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)*)`", PROMISES)))
TARGETS = sorted(set(re.findall(r"`make (\w+)", PROMISES)))
PROGRAMS = sorted(set(re.findall(r"`python -m stress\.(\w+)", PROMISES)))


def rows():
    """Return the cells of every row that tells a promise."""
    lines = [line for line in PROMISES.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if len(row) == 3 and row[0] != "promise"]


def test_there_are_promises():
    assert len(rows()) > 20
    assert len(TESTS) > 20


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:60])
def test_a_promise_says_what_shows_it(row):
    promise, shown_by, _ = row

    assert promise.endswith(".")
    assert re.search(r"`(tests/|make |python -m )|the same|SECURITY\.md", shown_by)


@pytest.mark.parametrize(("path", "names"), TESTS, ids=str)
def test_what_shows_it_is_there(path, names):
    node = ast.parse((ROOT / path).read_text())

    for name in names.split("::")[1:]:
        there = {each.name: each for each in node.body if hasattr(each, "name")}
        assert name in there
        node = there[name]


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_there(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_there(program):
    path = ROOT / "stress" / program

    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
