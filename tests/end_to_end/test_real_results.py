"""Real input: football results since 1872 become updates of a real server, watched live.

A win is 3 points, a draw 1, and points add up: each team is a user, the running total the value
sent, the date of the match the timestamp.
"""

import csv

import pytest

from tests.support.football import MATCHES, Expected, matches, points, seed
from tests.support.servers import Server
from tests.support.subscribers import PlainViewer, SocketIoViewer

# Of those, how many by each way to serve: what ranks and pushes is the same behind both.
REPLAYED = {"python wsgi.py": MATCHES, "flask run": 1_000}


@pytest.mark.parametrize("mode", REPLAYED)
def test_every_result_reaches_every_viewer_once_and_in_order(tmp_path, watching, mode):
    server = Server(tmp_path, mode)
    try:
        scorer = server.user("scorer", "scorer")
        played = matches()[-REPLAYED[mode] :]
        teams = sorted({team for match in played for team in points(match)})
        user_ids = dict(zip(teams, seed(server, len(teams)), strict=True))
        viewers = [
            watching(SocketIoViewer(server.url, scorer.token)),
            watching(PlainViewer(server.url, scorer.token)),
        ]
        expected = Expected()

        for number, match in enumerate(played):
            for team, gained in points(match).items():
                total = expected.update(team, user_ids[team], gained)
                send(server, scorer, user_ids[team], total, match["date"], f"match-{number:06}")

        for viewer in viewers:
            viewer.wait_for_count(len(expected.messages), seconds=30)
            assert viewer.messages() == expected.messages
        assert server.top10() == expected.top10()
    finally:
        server.stop()


def test_the_results_replayed_in_batches_come_to_the_same_board(tmp_path, watching):
    server = Server(tmp_path)
    try:
        played = matches()
        expected, rows = Expected(), {}
        for match in played:
            for team, gained in points(match).items():
                total = expected.update(team, team, gained)
                rows[match["date"], team, total] = None  # once a day: the rest are repeats
        with (tmp_path / "scores.csv").open("w", newline="", encoding="utf-8") as lines:
            csv.writer(lines).writerows([("timestamp", "username", "score"), *rows])
        viewer = watching(PlainViewer(server.url, server.user("viewer").token))

        told = server.flask("replay", str(tmp_path / "scores.csv"), "--url", server.url)

        assert f"accepted: {len(rows)}\nalready posted: 0" in told
        viewer.wait_for(lambda messages: len(scores_in(messages)) == len(rows), seconds=30)
        assert scores_in(viewer.messages()) == [total for _, _, total in rows]
        assert [entry["score"] for entry in server.top10()] == [
            entry["score"] for entry in expected.top10()
        ]
    finally:
        server.stop()


def scores_in(messages):
    return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]


def send(server, scorer, user_id, total, date, nonce):
    # Teams may play, and score nothing, twice a day: the match is what makes an update its own.
    update = {"user_id": user_id, "score_value": total, "timestamp": date, "nonce": nonce}
    status, body = server.send(scorer.token, update)
    assert (status, body["score"]) == (200, total)
