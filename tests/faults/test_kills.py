"""Killed again and again under load: nothing is lost, nothing counts twice, nobody is told a lie.

`python -m stress.kills` does the same for as often as one likes.
"""

import pytest

from stress import kills

KILLS = 3


@pytest.mark.parametrize(
    ("database", "processes", "policy"),
    [
        ("sqlite", 1, "total"),
        ("sqlite", 3, "best"),
        ("postgres", 1, "latest"),
        ("postgres", 3, "total"),
    ],
)
def test_what_was_acknowledged_is_there_once_and_every_viewer_sees_it(
    tmp_path, database, processes, policy
):
    found, figures = kills.run(tmp_path, database, processes, KILLS, policy, seed=processes)

    assert found == []
    assert figures["kills"] == KILLS
    assert figures["acknowledged"] > 30
    assert figures["answers lost"] > 0
