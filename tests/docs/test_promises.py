"""The tests that docs/promises.md names exist."""

import ast
import re

import pytest

from tests.support.servers import ROOT

PROMISES = (ROOT / "docs" / "promises.md").read_text()
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)((?:::\w+)+)`", PROMISES)))


def test_every_promise_names_a_test():
    rows = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]

    assert rows
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::", row)] == []


@pytest.mark.parametrize(("path", "names"), TESTS, ids=str)
def test_a_named_test_exists(path, names):
    node = ast.parse((ROOT / path).read_text())

    for name in names.split("::")[1:]:
        members = {each.name: each for each in node.body if hasattr(each, "name")}
        assert name in members
        node = members[name]
