"""Real input: football results since 1872 as updates of a real server, received live.

A win is 3 points, a draw 1, and points add up: each team is a user, the running total the value
sent, the date of the match the timestamp.
"""

import csv

import pytest

from tests.support.football import MATCHES, Expected, matches, points, replay
from tests.support.subscribers import SocketIoClient, WebSocketClient

# Matches in each mode: the code that ranks and pushes is the same in both.
REPLAYED = {"python wsgi.py": MATCHES, "flask run": 1_000}


@pytest.mark.parametrize("mode", REPLAYED)
def test_every_result_reaches_every_viewer_once_and_in_order(own_server, closing, mode):
    server = own_server(mode)
    scorer = server.user("scorer", "scorer")
    kinds = (SocketIoClient, WebSocketClient)
    viewers = [closing(kind(server.url, scorer.token)) for kind in kinds]

    expected = replay([server], scorer, matches()[-REPLAYED[mode] :])

    for viewer in viewers:
        viewer.wait_for_count(len(expected.messages), seconds=30)
        assert viewer.messages() == expected.messages
    assert server.top10() == expected.top10()


def test_the_results_replayed_in_batches_lead_to_the_same_board(own_server, tmp_path, closing):
    server = own_server()
    expected, rows = Expected(), {}
    for match in matches():
        for team, gained in points(match).items():
            total = expected.update(team, team, gained)
            rows[match["date"], team, total] = None  # once a day: the rest are replays
    with (tmp_path / "scores.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("timestamp", "username", "score"), *rows])
    viewer = closing(WebSocketClient(server.url, server.user("viewer").token))

    printed = server.flask("replay", str(tmp_path / "scores.csv"), "--url", server.url)

    def received():
        messages = viewer.messages()
        return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]

    assert f"accepted: {len(rows)}\nalready posted: 0" in printed
    viewer.wait_for(lambda _: len(received()) == len(rows), seconds=30)
    assert received() == [total for _, _, total in rows]
    assert [entry["score"] for entry in server.top10()] == [
        entry["score"] for entry in expected.top10()
    ]
