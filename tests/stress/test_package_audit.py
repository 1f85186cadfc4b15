"""What `make audit` makes of the answers of the advisory service; it is not asked here."""

import sys

import pytest

from stress import audit
from stress.audit import judge

SOUND = {"name": "flask", "version": "3.1.3", "vulns": []}
FLAWED = {
    "name": "redis",
    "version": "7.4.1",
    "vulns": [{"id": "CVE-2026-1", "fix_versions": ["7.4.2"]}],
}
UNKNOWN = {"name": "limits", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "failed", "said"),
    [
        (None, False, "could not be asked: nothing is known"),
        ([UNKNOWN], False, "knows none of them: nothing is known"),
        ([SOUND], False, "of 1 packages, 1 have 0 known vulnerabilities"),
        ([SOUND, UNKNOWN], False, "not known to the advisory service: limits"),
        ([SOUND, FLAWED], True, "redis 7.4.1: CVE-2026-1, mended in 7.4.2"),
        ([UNKNOWN, FLAWED], True, "of 2 packages, 1 have 1 known vulnerabilities"),
    ],
    ids=str,
)
def test_only_a_known_vulnerability_is_a_failure(packages, failed, said):
    lines, wrong = judge(packages)

    assert wrong is failed
    assert said in "\n".join(lines)


@pytest.fixture
def said(monkeypatch):
    """Return a function that has the tool print this, and says what we make of it."""

    def said(text, stream):
        program = f"import sys; print({text!r}, file=sys.{stream})"
        monkeypatch.setattr(audit, "ASK", [sys.executable, "-c", program])
        return audit.ask()

    return said


def test_what_the_tool_found_out_is_taken(said):
    assert said('{"dependencies": []}', "stdout") == []


def test_a_network_that_is_not_there_is_no_failure(said):
    assert said("Retrying after connection broken by 'NewConnectionError'", "stderr") is None


def test_a_tool_that_fails_is_one(said):
    with pytest.raises(RuntimeError, match="No module named pip_audit"):
        said("No module named pip_audit", "stderr")
