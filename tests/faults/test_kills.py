"""Kill processes under load: no update is lost or recorded twice, and no message is wrong.

`python -m stress.kills` runs more kills.
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
def test_every_acknowledged_update_is_recorded_once_and_pushed_in_order(
    tmp_path, database, processes, policy
):
    problems, figures = kills.run(tmp_path, database, processes, KILLS, policy, seed=processes)

    assert problems == []
    assert figures["kills"] == KILLS
    assert figures["acknowledged"] > 30
    assert figures["lost responses"] > 0
