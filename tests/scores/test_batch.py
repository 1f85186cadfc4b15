"""`POST /api/score/batch`: many updates of a game server in one request, each with its result."""

import json
import threading
from datetime import UTC, datetime
from itertools import chain

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError

from scoreboard.db import transactions
from scoreboard.models import MAIN, MAX_SCORE, Score
from scoreboard.scores import records
from scoreboard.scores.ledger import MAX_BATCH_SIZE
from scoreboard.scores.records import Receipt, Update
from scoreboard.services import services
from tests.support.api import UNKNOWN_ID, submit
from tests.support.ledgers import make_ledger
from tests.support.metrics import series
from tests.support.waiting import wait_until

URL = "/api/score/batch"
START = datetime(2026, 1, 1, tzinfo=UTC)


def results(client, user, updates):
    response = client.post(URL, json={"updates": updates}, headers=user.bearer)
    assert response.status_code == 200, response.text
    return response.json["results"]


def statuses(results):
    return [result["status"] for result in results]


def codes(results):
    return [result["body"].get("error", {}).get("code") for result in results]


def stored_values():
    """Return the values of the stored scores, in the order of their commits."""
    statement = select(Score.score_value).order_by(Score.version, Score.created_at)
    return transactions.read(lambda connection: connection.execute(statement).scalars().all())


class TestEachUpdate:
    def test_has_a_result_in_the_order_sent(self, client, scorer, make_user):
        users = [make_user() for _ in range(3)]

        found = results(client, scorer, [user.update(n + 0.5) for n, user in enumerate(users)])

        assert statuses(found) == [200] * 3
        assert [(result["body"]["user_id"], result["body"]["score"]) for result in found] == [
            (user.user_id, n + 0.5) for n, user in enumerate(users)
        ]

    def test_has_the_same_receipt_as_a_single_update(self, client, scorer, player):
        single = submit(client, scorer, player.update(7, nonce="the-single")).json

        (result,) = results(client, scorer, [player.update(7.0, nonce="the-batch")])

        changing = {"score_id", "created_at"}
        assert list(result["body"]) == list(single)
        assert {k: v for k, v in result["body"].items() if k not in changing} == {
            k: v for k, v in single.items() if k not in changing
        }
        assert type(result["body"]["score"]) is int

    @pytest.mark.parametrize(
        "bad",
        [
            None,
            [],
            {},
            {"score_value": "many"},
            {"timestamp": "2999-01-01"},
            {"user_id": UNKNOWN_ID},
            {"nonce": "short"},
            {"extra": 1},
        ],
        ids=str,
    )
    def test_is_refused_like_a_single_update_and_affects_no_other(
        self, client, scorer, player, bad
    ):
        update = {**player.update(5), **bad} if bad else bad
        single = submit(client, scorer, update)

        found = results(client, scorer, [player.update(1), update, player.update(2)])

        assert found[1] == {"status": single.status_code, "body": single.json}
        assert statuses(found) == [200, 400, 200]
        assert stored_values() == [1, 2]

    def test_repeated_within_the_batch_has_the_first_receipt(self, client, scorer, player):
        first, repeat = results(client, scorer, [player.update(7), player.update(7)])

        assert repeat["body"]["error"]["code"] == "replayed"
        assert repeat["body"]["error"]["receipt"] == first["body"]

    def test_sent_again_changes_nothing_and_has_its_receipt(
        self, client, scorer, make_user, subscriber
    ):
        updates = [make_user().update(number) for number in range(5)]
        first = results(client, scorer, updates)
        before = subscriber.messages()

        again = results(client, scorer, [*updates, scorer.update(1)])

        assert [r["body"]["error"]["receipt"] for r in again[:5]] == [r["body"] for r in first]
        assert again[5]["status"] == 200
        assert len(subscriber.messages()) == len(before) + 2

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_that_leads_out_of_range_affects_no_other(self, client, scorer, player):
        found = results(client, scorer, [player.update(value) for value in (MAX_SCORE, 1, -1)])

        assert codes(found) == [None, "invalid_input", None]


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "3/day"}])
def test_the_rate_limit_accepts_the_first_valid_updates_of_each_user(client, scorer, make_user):
    one, other = make_user(), make_user()
    results(client, scorer, [one.update(0)])

    found = results(
        client,
        scorer,
        [one.update("x"), one.update(1), other.update(1), one.update(2), one.update(3), None],
    )

    assert statuses(found) == [400, 200, 200, 200, 429, 400]
    assert codes(found)[4:] == ["rate_limited", "invalid_json"]
    assert 86_000 < found[4]["retry_after"] <= 86_401


class TestWholeBatch:
    @pytest.mark.parametrize(
        "body",
        [
            *(None, [], "updates", {}, {"updates": None}, {"updates": {}}, {"updates": "all"}),
            *({"updates": []}, {"updates": ["x"] * 1001}, {"updates": ["x"], "more": 1}),
        ],
        ids=lambda body: str(body)[:40],
    )
    def test_a_malformed_batch_is_refused_before_its_token_is_checked(self, client, body):
        response = client.post(URL, json=body)

        assert response.status_code == 400
        assert response.json["error"].keys() >= {"code", "message"}

    def test_too_many_updates_change_nothing(self, client, scorer, player):
        updates = [player.update(number) for number in range(1001)]

        response = client.post(URL, json={"updates": updates}, headers=scorer.bearer)

        assert response.json["error"]["fields"] == {"updates": ["Must be 1 to 1000 updates."]}
        assert stored_values() == []

    def test_a_thousand_of_the_longest_updates_are_accepted(self, client, scorer, player):
        updates = [
            player.update(-MAX_SCORE, "2026-01-01T12:00:00.123456+00:00", nonce=f"{n:064}")
            for n in range(1000)
        ]

        assert set(statuses(results(client, scorer, updates))) == {200}
        assert len(stored_values()) == 1000

    def test_a_body_over_256_kib_is_refused(self, client, scorer, player):
        body = json.dumps({"updates": [player.update(1)]}) + " " * 256 * 1024

        response = client.post(URL, data=body, headers=scorer.bearer)

        assert (response.status_code, response.json["error"]["code"]) == (400, "invalid_json")
        assert "256 KiB" in response.json["error"]["message"]
        assert stored_values() == []

    def test_leaves_no_attempt_in_progress(self, app, client, scorer, player):
        results(client, scorer, [player.update(1), None])
        client.post(URL, json=None, headers=scorer.bearer)

        assert not services(app).attempts_in_progress

    def test_subscribers_get_every_update_in_order_and_one_top_10_per_transaction(
        self, client, scorer, make_user, subscriber
    ):
        users, count = [make_user() for _ in range(3)], 2 * MAX_BATCH_SIZE
        updates = [users[n % 3].update(n, nonce=f"number-{n:04}") for n in range(count)]

        results(client, scorer, updates)

        messages = subscriber.messages()
        transaction = ["score_update"] * MAX_BATCH_SIZE + ["top_10_update"]
        assert [message["type"] for message in messages] == transaction * 2
        assert new_scores(messages) == list(range(count))

    def test_metrics_count_every_attempt_by_its_code(self, client, scorer, player):
        results(client, scorer, [player.update(1), player.update("x"), player.update(1)])

        found = series(client.get("/metrics").text)
        codes = ("accepted", "invalid_input", "replayed")
        assert [found["scoreboard_updates_total", code] for code in codes] == [1, 1, 1]

    @pytest.mark.parametrize("settings", [{"ACTIVITY_JUMP": "20"}])
    def test_anomalies_are_detected_in_every_update(self, client, scorer, player, caplog):
        results(client, scorer, [player.update(value) for value in (1, 2, 3, 4, 5, 6, 1000)])

        lines = [json.loads(r.message) for r in caplog.records if r.levelname == "WARNING"]
        assert [(line["rule"], line["user_id"]) for line in lines] == [("jump", player.user_id)]


def new_scores(messages):
    return [m["data"]["new_score"] for m in messages if m["type"] == "score_update"]


def ledger_updates(user_ids, count):
    return [
        Update(user_ids[n % len(user_ids)], float(n), START, f"x-{n}", user_ids[0])
        for n in range(count)
    ]


class TestLedger:
    @pytest.fixture
    def user_ids(self, make_user):
        return [make_user().user_id for _ in range(3)]

    def test_another_update_is_recorded_between_two_transactions_of_a_batch(self, app, user_ids):
        published, threads = [], []

        def publish(change):
            published.append([score.score for score in change.boards[MAIN].scores])
            if len(published) == 1:
                threads.append(threading.Thread(target=record_one))
                threads[0].start()
                wait_until(lambda: ledger._batches._pending == 1)

        def record_one():
            with app.app_context():
                ledger.record(Update(user_ids[0], -1.0, START, "waiting", user_ids[0]))

        ledger = make_ledger(publish=publish)
        outcomes = ledger.record_all(ledger_updates(user_ids, 3 * MAX_BATCH_SIZE))
        threads[0].join(10)

        assert published.pop(1)[0] == -1
        assert list(chain.from_iterable(published)) == list(range(3 * MAX_BATCH_SIZE))
        assert all(isinstance(outcome, Receipt) for outcome in outcomes)

    def test_an_update_that_the_database_refuses_fails_alone(self, app, user_ids, monkeypatch):
        write = records.write

        def refuse_one(connection, updates, *rest):
            if any(update.identity == "x-3" for update in updates):
                raise DataError("", {}, Exception())
            return write(connection, updates, *rest)

        monkeypatch.setattr(records, "write", refuse_one)
        ledger = make_ledger()

        outcomes = ledger.record_all(ledger_updates(user_ids, 6))

        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [*[Receipt] * 3, DataError, *[Receipt] * 2]
        assert stored_values() == [0, 1, 2, 4, 5]


def test_after_a_database_failure_the_remaining_updates_are_not_tried(
    client, scorer, make_user, monkeypatch
):
    users, size = [make_user() for _ in range(3)], MAX_BATCH_SIZE
    updates = [users[n % 3].update(n, nonce=f"number-{n:04}") for n in range(3 * size)]
    transaction, calls = transactions.transaction, []

    def fail_after_the_first(work, **options):
        calls.append(work)
        if len(calls) > 1:
            raise OperationalError("", {}, Exception())
        return transaction(work, **options)

    with monkeypatch.context() as patched:
        patched.setattr(transactions, "transaction", fail_after_the_first)
        found = results(client, scorer, updates)
    again = results(client, scorer, updates)

    assert len(calls) == 2
    assert statuses(found) == [200] * size + [500] * size * 2
    assert codes(again) == ["replayed"] * size + [None] * size * 2
    assert stored_values() == list(range(3 * size))
