"""What `make audit` makes of the answers of the advisory service; it is not asked here."""

import pytest

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
