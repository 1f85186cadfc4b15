"""Boards and seasons agree with a model in plain Python, with two processes on one database."""

import itertools
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

from scoreboard.auth import accounts, tokens
from scoreboard.db import transactions
from scoreboard.models import Score, Standing, User
from scoreboard.services import services
from tests.boards.board_model import (
    DAY,
    MINUTE,
    Accepted,
    BoardModel,
    LedgerModel,
    iso,
    next_end,
)
from tests.support.local_subscribers import LocalSubscriber
from tests.support.tokens import bearer

HOUR = 60 * MINUTE
START = int(datetime(2026, 6, 10, 10, 30, tzinfo=UTC).timestamp()) * 10**6  # a Wednesday
USERS = 3
VALUES = (0.0, -0.0, 1.0, 2.0, -3.0, 2.5, 0.1, 0.2, 1e-9, 1e-10)
NUMBERS = itertools.count(1)

UTC_ZONE = {"time_zone": "UTC"}
POLICIES, ORDERS = ("latest", "best", "total"), ("desc", "asc")
LOWEST, HIGHEST = (None, None, None, -1.0), (None, None, None, 2.0)
RESETS = (
    None,
    {"every": "day", "at": "12:00", **UTC_ZONE},
    {"every": "day", "at": "00:00", **UTC_ZONE},
    {"every": "week", "on": "thursday", "at": "12:00", **UTC_ZONE},
)
# Around noon, when seasons end as well: one boundary follows another by microseconds.
NOON = START + 90 * MINUTE
OPENS = (*[None] * 6, START, NOON, NOON + 1)
CLOSES = (*[None] * 6, NOON + 2, NOON + DAY, NOON + 3 * DAY)

rules = st.fixed_dictionaries(
    {
        "policy": st.sampled_from(POLICIES),
        "order": st.sampled_from(ORDERS),
        "min_score": st.sampled_from(LOWEST),
        "max_score": st.sampled_from(HIGHEST),
        "reset": st.sampled_from(RESETS),
        "opens_at": st.sampled_from(OPENS),
        "closes_at": st.sampled_from(CLOSES),
    }
)
numbers = st.integers(0, 7)  # of a board or a ledger, modulo their number


def draw_rules(random) -> dict:
    """Return the rules of a board that is created later."""
    return {
        "policy": random.choice(POLICIES),
        "order": random.choice(ORDERS),
        "min_score": random.choice(LOWEST),
        "max_score": random.choice(HIGHEST),
        "reset": random.choice(RESETS),
        "opens_at": random.choice(OPENS),
        "closes_at": random.choice(CLOSES),
    }


def draw_item(random) -> tuple:
    """Return an update: ledger, user, value, minute, pinned season, and what it repeats."""
    repeat = random.randrange(50) if random.random() < 0.2 else None
    pin = random.choice([*[None] * 6, 0, -1, 1])
    number, user = random.randrange(8), random.randrange(USERS)
    return number, user, random.choice(VALUES), random.randrange(4), pin, repeat


def draw_step(random) -> tuple:
    """Return the name of a method of World, and its arguments."""
    number, index = random.randrange(8), random.randrange(100)
    changes = {
        "reset": random.choice(RESETS),
        "opens_at": random.choice(OPENS),
        "closes_at": random.choice(CLOSES),
    }
    steps = {
        "update": (10, [draw_item(random) for _ in range(random.randint(1, 6))]),
        "move": (2, random.choice([1, HOUR, 7 * HOUR, DAY, 3 * DAY, -DAY])),
        "approach": (3, random.randrange(5)),
        "open_due": (1,),
        "end_season": (2, number),
        "change": (1, number, dict(random.sample(sorted(changes.items()), random.randint(1, 2)))),
        "void": (4, index),
        "hide": (1, number, random.random() < 0.5),
        "derive": (1, number, draw_rules(random)),
        "archive": (0.3, number),
        "freeze": (1, number),
        "unfreeze": (0.3, number),
        "reveal": (2, number, random.choice([1, 1, 1, "all"])),
    }
    (name,) = random.choices(list(steps), [weight for weight, *_ in steps.values()])
    return name, *steps[name][1:]


class World:
    """Two processes and the model of what they share, and what two subscribers have got."""

    def __init__(self, apps, user_ids, scorer, admin) -> None:
        self.apps, self.user_ids, self.scorer, self.admin = apps, user_ids, scorer, admin
        self.clients = [app.test_client() for app in apps]
        self.now = START
        self.ledgers: list[LedgerModel] = []
        self.subscribers: list[LocalSubscriber] = []
        self.accepted: list[Accepted] = []
        self.sent: list[dict] = []
        self.hidden: set[str] = set()

    def start(self, ledgers: list[dict], derived: list[tuple[int, dict]]) -> None:
        for each in ledgers:
            self._create(0, None, each)
        for number, each in derived:
            self.derive(0, number, each, watch=False)
        ids = [board.board_id for board in self.boards()]
        self.subscribers = [LocalSubscriber(app, ids) for app in self.apps]
        for each in self.subscribers:
            each.frames.clear()

    def boards(self) -> list[BoardModel]:
        return [board for ledger in self.ledgers for board in ledger.boards]

    def of(self, number: int) -> tuple[LedgerModel, BoardModel]:
        board = self.boards()[number % len(self.boards())]
        return next(each for each in self.ledgers if board in each.boards), board

    def request(self, app, method, path, user, body=None):
        return self.clients[app].open(path, method=method, json=body, headers=bearer(user))

    def administer(self, app, method, path, body=None):
        response = self.request(app, method, f"/api/admin{path}", self.admin, body)
        assert response.status_code in (200, 201, 204, 400), response.json
        return response

    def clear(self) -> None:
        """Remove the subscribers and the scores; later worlds have boards of their own."""
        for app, subscriber in zip(self.apps, self.subscribers, strict=False):
            with app.app_context():
                services().subscribers.remove(subscriber.connection)
        with self.apps[0].app_context():
            transactions.transaction(
                lambda c: [
                    c.execute(delete(Standing)),
                    c.execute(delete(Score)),
                    c.execute(update(User).values(hidden_at=None)),
                ]
            )

    # The steps. Each takes the number of the process that does it.

    def update(self, app, items) -> None:
        """Send a batch for several boards, with pinned seasons and with repeats."""
        bodies, expected = [], []
        by_ledger: dict[int, list[dict]] = {}
        for item in items:
            number, body = self._body(*item)
            bodies.append(body)
            ledger = self.ledgers[number]
            refused = ledger.ledger.refuses(body["score_value"])
            if refused:
                expected.append((number, refused))
                continue
            update = {
                "key": (body["user_id"], body["nonce"]),
                "user_id": body["user_id"],
                "value": body["score_value"],
                "timestamp": body["timestamp"],
                "season": body.get("season"),
            }
            by_ledger.setdefault(number, []).append(update)
            expected.append((number, None))
        recorded = {
            number: iter(self.ledgers[number].record(updates, self.now))
            for number, updates in by_ledger.items()
        }

        response = self.request(app, "POST", "/api/score/batch", self.scorer, {"updates": bodies})

        assert response.status_code == 200
        for body, (number, refused), result in zip(
            bodies, expected, response.json["results"], strict=True
        ):
            code, accepted = (refused, None) if refused else next(recorded[number])
            if code:
                error = result["body"]["error"]
                assert (result["status"], error["code"]) == (400, code)
                if accepted:
                    assert error["receipt"] == accepted.receipt
                continue
            assert result["status"] == 200
            self._check_receipt(self.ledgers[number], body, accepted, result["body"])

    def _body(self, number, user, value, minutes, pin, repeat) -> tuple[int, dict]:
        number %= len(self.ledgers)
        if repeat is not None and self.sent:
            body = self.sent[repeat % len(self.sent)]
            ids = [each.ledger.board_id for each in self.ledgers]
            return ids.index(body["board"]), body
        board = self.ledgers[number].ledger
        body = {
            "user_id": self.user_ids[user % USERS],
            "score_value": value,
            "timestamp": f"2026-01-01T00:0{minutes}:00Z",
            "nonce": f"nonce-{next(NUMBERS):06}",
            "board": board.board_id,
        }
        if pin is not None and board.season + pin > 0:
            body["season"] = board.season + pin
        self.sent.append(body)
        return number, body

    def _check_receipt(self, ledger, body, accepted, receipt) -> None:
        board = ledger.ledger
        accepted.receipt = receipt
        self.accepted.append(accepted)
        assert receipt["created_at"] == iso(accepted.created_at)
        assert receipt["score"] == ledger.score_after(board, accepted)
        assert (receipt["board"], receipt["season"]) == (
            board.board_id,
            accepted.seasons[board.board_id],
        )

    def move(self, app, distance) -> None:
        self.now += distance

    def approach(self, app, distance) -> None:
        """Set the clock to some microseconds before the next boundary of any board."""
        found = [
            each
            for ledger in self.ledgers
            for board in ledger.boards
            for each in board.changes_after(max(ledger.clock, self.now), self.now + 8 * DAY)
        ]
        self.now = min(found, default=self.now + distance) - distance

    def open_due(self, app) -> None:
        """Do the work of the maintenance."""
        with self.apps[app].app_context():
            for ledger in self.ledgers:
                if ledger.is_due(self.now):
                    ledger.change(self.now)
                    services().ledgers.get(ledger.ledger.board_id).bring_up_to_date()

    def end_season(self, app, number) -> None:
        ledger, board = self.of(number)
        ledger.change(self.now)
        board.open_season(ledger.clock)

        response = self.administer(app, "POST", f"/boards/{board.board_id}/seasons")

        assert response.json["season"] == board.seasons()[0]

    def change(self, app, number, changes) -> None:
        ledger, board = self.of(number)
        after = {**board.rules, **changes}
        opens_at, closes_at = after["opens_at"], after["closes_at"]
        is_valid = opens_at is None or closes_at is None or opens_at < closes_at
        if is_valid:
            ledger.change(self.now)
            if after["reset"] != board.rules["reset"]:
                board.ends_at = next_end(after["reset"], ledger.clock)
            board.rules = after

        response = self.administer(app, "PATCH", f"/boards/{board.board_id}", as_json(changes))

        assert response.status_code == (200 if is_valid else 400)

    def void(self, app, number) -> None:
        valid = [each for each in self.accepted if not each.is_voided]
        if not valid:
            return
        accepted = valid[number % len(valid)]
        ledger = next(each for each in self.ledgers if accepted in each.history)
        accepted.is_voided = True
        ledger.change(self.now)

        path = f"/scores/{accepted.receipt['score_id']}/void"
        response = self.administer(app, "POST", path, {"reason": "x"})

        assert response.status_code == 200

    def hide(self, app, number, hides) -> None:
        user_id = self.user_ids[number % USERS]
        self.hidden = self.hidden | {user_id} if hides else self.hidden - {user_id}
        for ledger in self.ledgers:
            if any(
                not each.is_voided and each.user_id == user_id and board.board_id in each.seasons
                for each in ledger.history
                for board in ledger.boards
            ):
                ledger.advance(self.now)
        self.administer(app, "POST", f"/users/{user_id}/{'hide' if hides else 'restore'}")

    def derive(self, app, number, board_rules, watch=True) -> None:
        source = self.ledgers[number % len(self.ledgers)]
        if len(source.boards) > 3:
            return
        source.change(self.now)
        board = self._create(app, source, board_rules)
        if watch:
            for each, subscriber in zip(self.apps, self.subscribers, strict=True):
                with each.app_context():
                    services().subscribers.subscribe(subscriber.connection, board.board_id)

    def archive(self, app, number) -> None:
        derived = [board for board in self.boards() if board.source]
        if not derived:
            return
        board = derived[number % len(derived)]
        ledger = next(each for each in self.ledgers if board in each.boards)
        ledger.change(self.now)
        ledger.boards.remove(board)
        ledger.archived.append(board)
        self.administer(app, "DELETE", f"/boards/{board.board_id}")

    def freeze(self, app, number) -> None:
        ledger, board = self.of(number)
        ledger.change(self.now)
        ledger.freeze(board)

        response = self.administer(app, "POST", f"/boards/{board.board_id}/freeze")

        assert response.json["state"] == "frozen"

    def unfreeze(self, app, number) -> None:
        ledger, board = self.of(number)
        ledger.change(self.now)
        board.frozen = None

        response = self.administer(app, "POST", f"/boards/{board.board_id}/unfreeze")

        assert response.json["state"] == board.state(ledger.clock)

    def reveal(self, app, number, places) -> None:
        frozen = [board for board in self.boards() if board.frozen]
        if not frozen:
            return
        board = frozen[number % len(frozen)]
        ledger = next(each for each in self.ledgers if board in each.boards)
        ledger.change(self.now)
        if places == "all":
            board.frozen = None
        else:
            ledger.reveal_place(board, self.hidden)

        path = f"/boards/{board.board_id}/reveal"
        response = self.administer(app, "POST", path, {"places": places})

        assert response.json["state"] == board.state(ledger.clock)

    def _create(self, app, source, board_rules) -> BoardModel:
        rules_ = {**board_rules}
        if rules_["opens_at"] and rules_["closes_at"] and rules_["opens_at"] >= rules_["closes_at"]:
            rules_["opens_at"] = None
        board_id = f"board-{next(NUMBERS)}"
        source_id = source.ledger.board_id if source else None
        body = {"board_id": board_id, "title": "Board", "source": source_id, **as_json(rules_)}
        response = self.administer(app, "POST", "/boards", body)
        assert response.status_code == 201, response.json
        board = BoardModel(board_id, source_id, rules_, source.clock if source else self.now)
        if source:
            source.boards[1:] = sorted([*source.boards[1:], board], key=lambda b: b.board_id)
        else:
            self.ledgers.append(LedgerModel(board))
        return board

    # What must hold.

    def snapshot(self) -> dict[str, tuple]:
        """Return, by board, what the public knows: state, season, top 10."""
        return {
            board.board_id: (
                board.state(ledger.clock),
                board.shown_season,
                self._top10(ledger, board),
            )
            for ledger in self.ledgers
            for board in ledger.boards
        }

    def _top10(self, ledger, board) -> list[tuple]:
        entries = ledger.public_standings(board, self.hidden)
        return [(each["rank"], each["user_id"], each["score"]) for each in entries]

    def check_pushes(self, before: dict, accepted_before: int) -> None:
        """Check what both subscribers got for one step."""
        new = self.accepted[accepted_before:]
        after = self.snapshot()
        for app, subscriber in zip(self.apps, self.subscribers, strict=True):
            with app.app_context():
                for ledger in self.ledgers:
                    services().subscribers.ledgers[ledger.ledger.board_id].feed.catch_up()
            received = subscriber.all_messages()
            subscriber.frames.clear()
            for ledger in self.ledgers:
                for board in ledger.boards:
                    self._check_board(ledger, board, before, after, new, received)

    def _check_board(self, ledger, board, before, after, new, received) -> None:
        of_board = [each for each in received if each["board"] == board.board_id]
        scores = [
            (each["season"], each["data"]["user_id"], each["data"]["new_score"])
            for each in of_board
            if each["type"] == "score_update"
        ]
        assert scores == [
            (each.seasons[board.board_id], each.user_id, ledger.score_after(board, each))
            for each in new
            if each in ledger.history
            and not board.frozen
            and board.board_id in each.seasons
            and each.user_id not in self.hidden
        ]
        lists = [
            (each["season"], as_tuples(each["data"]["top_10_scores"]))
            for each in of_board
            if each["type"] == "top_10_update"
        ]
        states = [
            (each["data"]["state"], each["season"])
            for each in of_board
            if each["type"] == "board_update"
        ]
        if board.board_id not in before:  # just created
            assert lists == [(1, [])]
            return
        (old_state, old_season, old_top10), (state, season, top10) = (
            before[board.board_id],
            after[board.board_id],
        )
        if season != old_season:
            assert lists == [(season, []), *([(season, top10)] if top10 else [])]
            assert states == [(state, season)]
        else:
            assert lists == ([(season, top10)] if top10 != old_top10 else [])
            if state != old_state:
                assert states == [(state, season)]

    def check_reads(self) -> None:
        """Check the seasons and the leaderboards of all boards, through both processes."""
        for app in range(len(self.apps)):
            for ledger in self.ledgers:
                for board in [*ledger.boards, *ledger.archived]:
                    self._check_reads(app, ledger, board)

    def _check_reads(self, app, ledger, board) -> None:
        path = f"/api/boards/{board.board_id}"
        found = self.request(app, "GET", f"{path}/seasons?live=1", self.admin).json["seasons"]
        assert found == board.seasons()
        with_scores = {1, board.season, *(e.seasons.get(board.board_id) for e in ledger.history)}
        for season in with_scores - {None}:
            entries = ledger.standings(board, season, self.hidden)
            self._check_list(app, f"{path}/leaderboard?season={season}&live=1", entries)
        # Without ?live=1, an admin gets what the public gets, also of a board that is archived.
        self._check_list(app, f"{path}/leaderboard", ledger.public_standings(board, self.hidden))

    def _check_list(self, app, path, entries) -> None:
        read = self.request(app, "GET", path, self.admin).json
        assert read["total"] == len(entries)
        assert [without_name(entry) for entry in read["entries"]] == [
            {**entry, "reached_at": iso(entry["reached_at"])} for entry in entries
        ]

    def check_history(self) -> None:
        """Check that every accepted update is in one season of each board in which it counts."""
        columns = Score.score_id, Score.board_id, Score.season, Score.derived
        with self.apps[0].app_context():
            rows = transactions.read(lambda c: c.execute(select(*columns)).all())
        stored = {
            score_id: {board_id: season}
            | {each: n for each, (n, _) in orjson.loads(derived or "{}").items()}
            for score_id, board_id, season, derived in rows
        }
        assert stored == {each.receipt["score_id"]: each.seasons for each in self.accepted}
        boards = {
            board.board_id: board
            for ledger in self.ledgers
            for board in [*ledger.boards, *ledger.archived]
        }
        for each in self.accepted:
            for board_id, season in each.seasons.items():
                assert boards[board_id].season_at(each.created_at) == season


def as_json(fields: dict) -> dict:
    times = ("opens_at", "closes_at")
    return {name: iso(value) if name in times else value for name, value in fields.items()}


def as_tuples(entries: list[dict]) -> list[tuple]:
    return [(each["rank"], each["user_id"], each["score"]) for each in entries]


def without_name(entry: dict) -> dict:
    return {name: value for name, value in entry.items() if name != "username"}


@pytest.fixture
def make_world(make_app, monkeypatch):
    """Return a function whose context is a world with no scores, and its clock."""
    apps = [make_app(), make_app()]
    with apps[0].app_context():
        people = [
            accounts.create(f"Person {n}", f"{n}@example.com", None, role).user_id
            for n, role in enumerate(["player"] * USERS + ["scorer", "admin"])
        ]
        scorer, admin = (
            tokens.issue_access(user_id, role)
            for user_id, role in zip(people[USERS:], ("scorer", "admin"), strict=True)
        )

    @contextmanager
    def make():
        world = World(apps, people[:USERS], scorer, admin)
        monkeypatch.setattr(time, "time_ns", lambda: world.now * 1000)
        try:
            yield world
        finally:
            world.clear()

    return make


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    ledgers=st.lists(rules, min_size=1, max_size=2),
    derived=st.lists(st.tuples(numbers, rules), max_size=3),
    # Steps that hypothesis draws one by one are mostly the first of each list.
    random=st.randoms(use_true_random=True),
    length=st.integers(20, 40),
)
def test_boards_and_seasons_agree_with_the_model(make_world, ledgers, derived, random, length):
    with make_world() as world:
        world.start(ledgers, derived)
        for _ in range(length):
            step, *arguments = draw_step(random)
            before, accepted_before = world.snapshot(), len(world.accepted)
            getattr(world, step)(random.randrange(2), *arguments)
            world.check_pushes(before, accepted_before)
        world.check_reads()
        world.check_history()
