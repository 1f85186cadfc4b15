"""Batches: many updates of a game server in one request, each judged on its own."""

import json
import os
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import requests
from sqlalchemy import select
from sqlalchemy.exc import DataError, OperationalError

from scoreboard.db import transactions as database
from scoreboard.db.rate_limits import RedisLimits
from scoreboard.models import MAX_SCORE, Score
from scoreboard.scores import ledger as ledgers
from scoreboard.scores import records
from scoreboard.scores.ledger import MAX_BATCH_SIZE, Ledger
from scoreboard.scores.policy import POLICIES
from scoreboard.scores.records import Receipt, Update
from scoreboard.services import services
from tests.support.subscribers import PlainViewer, SocketIoViewer
from tests.support.waiting import wait_until

URL = "/api/score/batch"
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379")
NOBODY = "00000000-0000-4000-8000-000000000000"
START = datetime(2026, 1, 1, tzinfo=UTC)


def post(client, person, updates):
    return client.post(URL, json={"updates": updates}, headers=person.bearer)


def results(client, person, updates):
    answer = post(client, person, updates)
    assert answer.status_code == 200, answer.text
    return answer.json["results"]


def outcomes(results):
    """Return the status of each result, and the code of the error."""
    return [(r["status"], r["body"].get("error", {}).get("code")) for r in results]


def scores():
    """Return the scores that are kept, in the order they were recorded."""
    statement = select(Score.score_value).order_by(Score.version, Score.created_at)
    return database.read(lambda connection: connection.execute(statement).scalars().all())


class TestEachOnItsOwn:
    def test_every_update_is_answered_with_its_receipt_in_the_order_given(
        self, client, scorer, make_user
    ):
        people = [make_user() for _ in range(3)]

        answered = results(client, scorer, [p.update(n + 0.5) for n, p in enumerate(people)])

        assert [result["status"] for result in answered] == [200, 200, 200]
        assert [(result["body"]["user_id"], result["body"]["score"]) for result in answered] == [
            (person.user_id, number + 0.5) for number, person in enumerate(people)
        ]

    def test_a_receipt_is_the_one_that_a_single_update_gets(self, client, scorer, player):
        single = client.post(
            "/api/score/update", json=player.update(7, nonce="the-single"), headers=scorer.bearer
        ).json

        (result,) = results(client, scorer, [player.update(7.0, nonce="the-batch")])

        receipt = result["body"]
        assert list(receipt) == list(single)
        assert [type(value) for value in receipt.values()] == [type(v) for v in single.values()]
        assert receipt["created_at"].endswith("Z")

    @pytest.mark.parametrize(
        "bad",
        [
            None,
            [],
            "update",
            {},
            {"score_value": "many"},
            {"timestamp": "2999-01-01"},
            {"user_id": NOBODY},
            {"user_id": None},
            {"nonce": "short"},
            {"extra": 1},
        ],
        ids=str,
    )
    def test_a_bad_update_is_answered_as_alone_and_fails_no_neighbour(
        self, client, scorer, player, bad
    ):
        update = {**player.update(5), **bad} if isinstance(bad, dict) and bad else bad
        alone = client.post("/api/score/update", json=update, headers=scorer.bearer)

        before, middle, after = results(
            client, scorer, [player.update(1), update, player.update(2)]
        )

        assert middle == {"status": alone.status_code, "body": alone.json}
        assert (before["status"], after["status"], middle["status"]) == (200, 200, 400)
        assert scores() == [1, 2]

    def test_a_repeat_within_the_batch_carries_the_receipt_of_the_first(
        self, client, scorer, player
    ):
        first, repeat = results(client, scorer, [player.update(7), player.update(7)])

        assert repeat["body"]["error"]["code"] == "replayed"
        assert repeat["body"]["error"]["receipt"] == first["body"]

    def test_a_batch_sent_again_changes_nothing_and_carries_every_receipt(
        self, client, scorer, make_user, watcher
    ):
        updates = [make_user().update(number) for number in range(5)]
        first = results(client, scorer, updates)
        seen = watcher.messages()

        again = results(client, scorer, [*updates, scorer.update(1)])

        assert [r["body"]["error"]["receipt"] for r in again[:5]] == [r["body"] for r in first]
        assert again[5]["status"] == 200
        assert len(watcher.messages()) == len(seen) + 2

    @pytest.mark.parametrize("settings", [{"SCORE_POLICY": "total"}])
    def test_a_total_out_of_range_is_refused_alone(self, client, scorer, player):
        answered = results(client, scorer, [player.update(value) for value in (MAX_SCORE, 1, -1)])

        assert outcomes(answered) == [(200, None), (400, "invalid_input"), (200, None)]

    @pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "2/day"}])
    def test_the_limit_is_each_users_own_and_tells_how_long_to_wait(
        self, client, scorer, make_user
    ):
        one, other = make_user(), make_user()

        answered = results(
            client, scorer, [*(one.update(n) for n in range(4)), other.update(1), "no update"]
        )

        limited = (429, "rate_limited")
        assert outcomes(answered) == [
            *[(200, None), (200, None), limited, limited],
            *[(200, None), (400, "invalid_json")],
        ]
        assert all(86_000 < result["retry_after"] <= 86_401 for result in answered[2:4])

    @pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "3/day"}])
    def test_the_first_updates_of_a_user_pass_and_invalid_ones_do_not_count(
        self, client, scorer, make_user
    ):
        one, other = make_user(), make_user()
        post(client, scorer, [one.update(0)])

        answered = results(
            client,
            scorer,
            [one.update("x"), one.update(1), other.update(1), one.update(2), one.update(3)],
        )

        assert [result["status"] for result in answered] == [400, 200, 200, 200, 429]

    @pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "5/minute;2/day"}])
    def test_of_several_limits_the_tightest_decides(self, client, scorer, player):
        answered = results(client, scorer, [player.update(number) for number in range(4)])

        assert [result["status"] for result in answered] == [200, 200, 429, 429]
        assert all(result["retry_after"] > 86_000 for result in answered[2:])

    @pytest.mark.parametrize("settings", [{"REDIS_URL": REDIS, "SCORE_RATE_LIMIT": "2/day"}])
    def test_redis_is_asked_once_for_all_users_of_a_batch(
        self, client, scorer, make_user, monkeypatch
    ):
        people = [make_user() for _ in range(20)]
        results(client, scorer, [scorer.update(0)])
        asked = []
        run = RedisLimits._run
        monkeypatch.setattr(
            RedisLimits, "_run", lambda self, wanted: asked.append(1) or run(self, wanted)
        )

        answered = results(
            client, scorer, [person.update(n) for person in people for n in range(3)]
        )

        assert [result["status"] for result in answered] == [200, 200, 429] * 20
        assert len(asked) == 1


class TestAsAWhole:
    @pytest.mark.parametrize(
        "body",
        [
            None,
            [],
            "updates",
            {},
            {"updates": None},
            {"updates": {}},
            {"updates": "all"},
            {"updates": []},
            {"updates": ["x"] * 1001},
            {"updates": ["x"], "more": 1},
        ],
        ids=lambda body: str(body)[:40],
    )
    def test_what_is_no_batch_is_refused(self, client, scorer, body):
        answer = client.post(URL, json=body, headers=scorer.bearer)

        assert answer.status_code == 400
        assert answer.json["error"].keys() >= {"code", "message"}

    def test_too_many_change_nothing(self, client, scorer, player):
        updates = [player.update(number) for number in range(1001)]

        answer = post(client, scorer, updates)

        assert answer.json["error"]["fields"] == {"updates": ["Must be 1 to 1000 updates."]}
        assert scores() == []

    def test_a_thousand_updates_of_the_longest_kind_are_taken(self, client, scorer, player):
        updates = [
            player.update(-MAX_SCORE, "2026-01-01T12:00:00.123456+00:00", nonce=f"{n:064}")
            for n in range(1000)
        ]

        answered = results(client, scorer, updates)

        assert {result["status"] for result in answered} == {200}
        assert len(scores()) == 1000

    def test_a_body_of_more_than_256_kib_is_refused(self, client, scorer, player):
        padded = json.dumps({"updates": [player.update(1)]}) + " " * 256 * 1024

        answer = client.post(URL, data=padded, headers=scorer.bearer)

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_json")
        assert "256 KiB" in answer.json["error"]["message"]
        assert scores() == []

    def test_the_single_update_still_takes_no_more_than_64_kib(self, client, scorer, player):
        padded = json.dumps(player.update(1)) + " " * 64 * 1024

        answer = client.post("/api/score/update", data=padded, headers=scorer.bearer)

        assert (answer.status_code, answer.json["error"]["code"]) == (400, "invalid_json")

    @pytest.mark.parametrize(
        ("role", "status"), [("viewer", 401), ("player", 401), ("scorer", 200), ("admin", 200)]
    )
    def test_it_needs_a_role_that_may_update_anyone(self, client, make_user, role, status):
        person = make_user(role)

        answer = post(client, person, [person.update(1)])

        assert answer.status_code == status
        if status == 401:
            assert answer.json["error"]["code"] == "not_permitted"
            assert scores() == []

    @pytest.mark.parametrize(
        ("headers", "code"),
        [({}, "token_missing"), ({"Authorization": "Bearer nonsense"}, "token_invalid")],
    )
    def test_without_a_good_token_the_whole_batch_is_refused(self, client, player, headers, code):
        answer = client.post(URL, json={"updates": [player.update(1)]}, headers=headers)

        assert (answer.status_code, answer.json["error"]["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_its_form_is_looked_at_before_its_token(self, client):
        assert client.post(URL, json={"updates": []}).status_code == 400

    def test_nothing_is_under_way_after_it(self, app, client, scorer, player):
        post(client, scorer, [player.update(1), None])
        post(client, scorer, None)

        assert not services(app).attempts_in_progress


class TestWatched:
    def test_viewers_get_every_update_in_order_and_one_board_a_transaction(
        self, client, scorer, make_user, watcher
    ):
        people = [make_user() for _ in range(3)]
        updates = [
            people[number % 3].update(number, nonce=f"number-{number:04}")
            for number in range(2 * MAX_BATCH_SIZE)
        ]

        results(client, scorer, updates)

        kinds = [message["type"] for message in watcher.messages()]
        transaction = ["score_update"] * MAX_BATCH_SIZE + ["top_10_update"]
        assert kinds == transaction * 2
        assert [
            message["data"]["new_score"]
            for message in watcher.messages()
            if message["type"] == "score_update"
        ] == list(range(2 * MAX_BATCH_SIZE))

    def test_attempts_are_counted_by_how_they_ended(self, client, scorer, player):
        def counted():
            text = client.get("/metrics").text
            rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
            return [
                float(rows.get(f'scoreboard_updates_total{{code="{code}"}}', 0))
                for code in ("accepted", "invalid_input", "replayed")
            ]

        before = counted()

        results(client, scorer, [player.update(1), player.update("x"), player.update(1)])

        assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 1, 1]

    @pytest.mark.parametrize("settings", [{"ACTIVITY_JUMP": "20"}])
    def test_the_rules_of_unusual_activity_see_every_update(
        self, app, client, scorer, player, monkeypatch
    ):
        hits = []
        activity = services(app).anomalies
        monkeypatch.setattr(activity, "_report", lambda hit, origin: hits.append(hit))

        results(client, scorer, [player.update(value) for value in (1, 2, 3, 4, 5, 6, 1000)])

        assert [(hit.rule, hit.user_id) for hit in hits] == [("jump", player.user_id)]


def rows_of(user_ids, count, prefix="x"):
    return [
        Update(user_ids[n % len(user_ids)], float(n), START, f"{prefix}-{n}", user_ids[0])
        for n in range(count)
    ]


class TestLedger:
    @pytest.fixture
    def user_ids(self, make_user):
        return [make_user().user_id for _ in range(3)]

    def test_others_get_their_turn_between_two_transactions(self, app, user_ids):
        published, late, in_the_queue = [], [], []

        def publish(batch):
            published.append(batch)
            if len(published) == 1:
                thread = threading.Thread(target=record_one)
                late.append(thread)
                thread.start()
                wait_until(lambda: len(ledger._together._queue) == 1)
                in_the_queue.append(True)

        def record_one():
            with app.app_context():
                ledger.record(Update(user_ids[0], -1.0, START, "late", user_ids[0]))

        ledger = Ledger(POLICIES["latest"], publish)
        outcomes = ledger.record_all(rows_of(user_ids, 3 * MAX_BATCH_SIZE), 1.0)
        late[0].join(10)

        assert in_the_queue == [True]
        assert published[1].updates[0]["new_score"] == -1
        assert all(isinstance(outcome, Receipt) for outcome in outcomes)
        scores = [update["new_score"] for batch in published for update in batch.updates]
        assert [value for value in scores if value >= 0] == list(range(3 * MAX_BATCH_SIZE))

    def test_nothing_to_record_is_no_transaction(self, app):
        published = []

        assert Ledger(POLICIES["latest"], published.append).record_all([], 1.0) == []
        assert published == []

    def test_an_update_that_the_database_refuses_fails_alone(self, app, user_ids, monkeypatch):
        write = records.write

        def picky(connection, updates, *rest):
            if any(update.identity == "x-3" for update in updates):
                raise DataError("", {}, Exception())
            return write(connection, updates, *rest)

        monkeypatch.setattr(ledgers.records, "write", picky)
        ledger = Ledger(POLICIES["latest"], lambda batch: None)

        outcomes = ledger.record_all(rows_of(user_ids, 6), 1.0)

        assert [type(outcome) for outcome in outcomes] == [
            *[Receipt] * 3,
            DataError,
            *[Receipt] * 2,
        ]
        assert scores() == [0, 1, 2, 4, 5]


def test_when_the_database_goes_away_what_was_committed_is_told_and_the_rest_not_tried(
    client, scorer, make_user, monkeypatch
):
    people = [make_user() for _ in range(3)]
    updates = [people[n % 3].update(n, nonce=f"number-{n:04}") for n in range(3 * MAX_BATCH_SIZE)]
    transaction, calls = database.transaction, []

    def failing(work, **options):
        calls.append(work)
        if len(calls) > 1:
            raise OperationalError("", {}, Exception())
        return transaction(work, **options)

    with monkeypatch.context() as patched:
        patched.setattr(database, "transaction", failing)
        answered = results(client, scorer, updates)
    again = results(client, scorer, updates)

    assert (
        outcomes(answered)
        == [(200, None)] * MAX_BATCH_SIZE + [(500, "server_error")] * MAX_BATCH_SIZE * 2
    )
    assert len(calls) == 2
    assert (
        outcomes(again) == [(400, "replayed")] * MAX_BATCH_SIZE + [(200, None)] * MAX_BATCH_SIZE * 2
    )
    assert scores() == list(range(3 * MAX_BATCH_SIZE))


BATCHES, SIZE = 3, 300


def test_batches_and_single_updates_at_once_reach_every_viewer_once_in_one_order(
    server, people, watching
):
    scorer, player = people["scorer"], people["player"]
    viewers = [
        watching(PlainViewer(server.url, scorer.token)),
        watching(SocketIoViewer(server.url, scorer.token)),
    ]
    run = uuid.uuid4().hex[:8]

    def send_batch(number):
        updates = [
            {**player.update(value(number, n)), "nonce": f"{run}-{number}-{n}"} for n in range(SIZE)
        ]
        answer = requests.post(
            server.url + URL, json={"updates": updates}, headers=scorer.bearer, timeout=60
        )
        return [result["status"] for result in answer.json()["results"]]

    def send_single(number):
        update = {**player.update(-number - 1), "nonce": f"{run}-single-{number}"}
        return [server.post(scorer.token, update).status_code]

    with ThreadPoolExecutor(BATCHES + 2) as pool:
        sent = [pool.submit(send_batch, number) for number in range(BATCHES)]
        sent += [pool.submit(send_single, number) for number in range(20)]
        statuses = [status for done in sent for status in done.result(60)]

    assert statuses == [200] * (BATCHES * SIZE + 20)
    expected = {value(b, n) for b in range(BATCHES) for n in range(SIZE)}
    expected |= {-number - 1 for number in range(20)}
    for viewer in viewers:
        viewer.wait_for(
            lambda messages: sum(m["type"] == "score_update" for m in messages) == len(expected),
            seconds=30,
        )
        seen = [u["data"]["new_score"] for u in updates_of(viewer)]
        assert set(seen) == expected
        for number in range(BATCHES):
            own = [score for score in seen if score in range(value(number, 0), value(number, SIZE))]
            assert own == [value(number, n) for n in range(SIZE)]
    assert updates_of(viewers[0]) == updates_of(viewers[1])


def value(batch, number):
    return batch * SIZE + number


def updates_of(viewer):
    return [m for m in viewer.messages() if m["type"] == "score_update"]
