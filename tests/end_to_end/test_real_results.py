"""Football results since 1872, posted as updates to a real server and received live.

Each team is a user, its total of points the score, the date of the match the timestamp.
"""

import csv

import pytest

from tests.support.football import MATCHES, Expected, matches, points, replay
from tests.support.subscribers import SocketIoClient, WebSocketClient

# The number of matches in each mode; the code that ranks and pushes is the same in both.
COUNTS = {"python wsgi.py": MATCHES, "flask run": 1_000}


@pytest.mark.parametrize("mode", COUNTS)
def test_every_result_reaches_every_subscriber_once_and_in_order(own_server, closing, mode):
    server = own_server(mode)
    scorer = server.user("scorer", "scorer")
    kinds = (SocketIoClient, WebSocketClient)
    subscribers = [closing(kind(server.url, scorer.token)) for kind in kinds]

    expected = replay([server], scorer, matches()[-COUNTS[mode] :])

    for subscriber in subscribers:
        subscriber.wait_for_count(len(expected.messages), seconds=30)
        assert subscriber.messages() == expected.messages
    assert server.top10() == expected.top10()


def test_the_results_in_batches_lead_to_the_same_board(own_server, tmp_path, closing):
    server = own_server()
    expected, rows = Expected(), {}
    for match in matches():
        for team, gained in points(match).items():
            total = expected.update(team, team, gained)
            rows[match["date"], team, total] = None  # a second equal total of a day is a replay
    with (tmp_path / "scores.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("timestamp", "username", "score"), *rows])
    subscriber = closing(WebSocketClient(server.url, server.user("viewer").token))

    output = server.flask("replay", str(tmp_path / "scores.csv"), "--url", server.url)

    def received():
        messages = subscriber.messages()
        return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]

    assert f"accepted: {len(rows)}\nalready posted: 0" in output
    subscriber.wait_for(lambda _: len(received()) == len(rows), seconds=30)
    assert received() == [total for _, _, total in rows]
    assert [entry["score"] for entry in server.top10()] == [
        entry["score"] for entry in expected.top10()
    ]
