"""A client that names no board sees the same bytes with 0 and with 100 other boards.

A day of such clients is recorded twice: the status, the headers and the body of each response, and
the frames of four WebSockets. The hours, the ids of users and the clock of the ledger are the same
in both. Replaced is only what is random, by the order of its first appearance:

- ETags of the leaderboard, which depend on a random stamp: so the ETags of two equal records change
  at the same requests, and at no other ones;
- `score_id`, which counts the scores of all boards, and so the Content-Length; and `voided_at`;
- cursors, by their content, which is a random stamp or a `score_id`.
"""

import itertools
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from scoreboard.auth import accounts, tokens
from scoreboard.boards import service
from scoreboard.leaderboard.service import cursor_serializer
from scoreboard.models import MAIN
from tests.support import databases
from tests.support.api import submit
from tests.support.local_subscribers import LocalSubscriber
from tests.support.servers import SignedInUser

START = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
HOURS = 24
PLAYERS = 15
BOARDS = 100


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request):
    """Replace the fixture of `make_app`: each day has its own database of this kind."""
    return request.param


@pytest.fixture
def record(make_app, database_url, tmp_path, monkeypatch):
    """Return a function that returns the records of a day, with `beside(day)` in every hour."""

    def record(beside):
        if database_url == "postgres":
            url = databases.emptied_postgres()
        else:
            folder = tmp_path / uuid.uuid4().hex
            folder.mkdir()
            url = databases.copied_sqlite(folder)
        ids = (str(uuid.UUID(int=number)) for number in itertools.count(1))
        monkeypatch.setattr(accounts, "uuid", SimpleNamespace(uuid4=lambda: next(ids)))
        app = make_app(DATABASE_URL=url)
        with app.app_context():
            day = Day(app)
            monkeypatch.setattr(time, "time_ns", lambda: round(day.now.timestamp() * 1e9))
            return day.record(beside(day))

    return record


class Day:
    """A day of players on `main`, and all that their clients receive."""

    def __init__(self, app):
        self.app, self.client = app, app.test_client()
        self.now, self.hour = START, 0
        self.players = [self.user(f"player-{number}") for number in range(PLAYERS)]
        self.admin, self.scorer = self.user("boss", "admin"), self.user("game", "scorer")
        self._records = []
        self._seen = {}  # what is replaced, by kind, in the order of its appearance
        self._etags = {}

    def user(self, name, role="player"):
        account = accounts.create(name, f"{name}@example.com", None, role)
        return SignedInUser(account.user_id, tokens.issue_access(account.user_id, role))

    def record(self, beside):
        """Return the records of the day; `beside` continues after every step."""
        subscribers = [LocalSubscriber(self.app)]
        for self.hour in range(HOURS):
            self.now = START + timedelta(hours=self.hour)
            if self.hour % 8 == 4:
                subscribers.append(LocalSubscriber(self.app))
            for step in (self._submit, self._watch, self._moderate, self._watch):
                step()
                next(beside)
        return self._records, [b"".join(subscriber.frames) for subscriber in subscribers]

    def _submit(self):
        player = self.players[self.hour * 7 % PLAYERS]
        other = self.players[self.hour * 4 % PLAYERS]
        update = player.update((self.hour * 37 % 50) / 2, self.now.isoformat())
        for body in (update, update, player.update("7"), other.update(9), {**update, "b": 1}):
            self._request("POST", "/api/score/update", player, json=body)
        updates = [
            each.update(self.hour * number % 60, self.now.isoformat(), nonce=f"hour-{self.hour:04}")
            for number, each in enumerate(self.players[:4])
        ]
        self._request("POST", "/api/score/batch", self.scorer, json={"updates": updates})

    def _watch(self):
        user_id = self.players[self.hour % PLAYERS].user_id
        self._get("/api/score/top10")
        first = self._get("/api/leaderboard?limit=4")
        if first and first["next"]:
            self._get(f"/api/leaderboard?limit=4&cursor={first['next']}", "/api/leaderboard page 2")
        self._get("/api/leaderboard?limit=0")
        self._get(f"/api/leaderboard/users/{user_id}?around=2")
        history = self._get(f"/api/users/{user_id}/scores?limit=2", user=self.scorer)
        if history and history["next"]:
            path = f"/api/users/{user_id}/scores?limit=2&cursor={history['next']}"
            self._get(path, f"{user_id} page 2", self.scorer)

    def _moderate(self):
        player = self.players[self.hour % 4]
        if self.hour % 4 == 1:
            scores = self._get(f"/api/users/{player.user_id}/scores?limit=1", "", self.scorer)
            path = f"/api/admin/scores/{scores['scores'][0]['score_id']}/void"
            self._as_admin(path, json={"reason": "a mistake"})
        if self.hour % 6 == 2:
            self._as_admin(f"/api/admin/users/{player.user_id}/hide")
            self._watch()
            self._as_admin(f"/api/admin/users/{player.user_id}/restore")

    def _as_admin(self, path, **options):
        response = self.client.post(path, headers=self.admin.bearer, **options)
        assert response.status_code < 300, response.json

    def _get(self, path, name=None, user=None):
        """Request a page twice, first with the ETag of the previous response; return its JSON."""
        headers = {"If-None-Match": self._etags.get(path, '"none"')}
        self._request("GET", path, user, name, headers=headers)
        response = self._request("GET", path, user, name)
        self._etags[path] = response.headers.get("ETag", '"none"')
        return response.json

    def _request(self, method, path, user=None, name=None, headers=(), **options):
        headers = {**dict(headers), **(user.bearer if user else {})}
        response = self.client.open(path, method=method, headers=headers, **options)
        received = {**response.headers, "body": response.get_data(as_text=True)}
        assert int(received.pop("Content-Length", 0)) == len(response.data)
        if name != "":
            lines = {key: self._replaced(path, key, value) for key, value in received.items()}
            self._records.append((name or path, response.status_code, lines))
        return response

    def _replaced(self, path, key, value):
        if key == "ETag" and path != "/api/score/top10":
            return self._number("ETag", value)
        if key == "body":
            value = re.sub(r'"next":"([^"]+)"', lambda found: self._cursor(found[1]), value)
            for kind in ("score_id", "voided_at"):
                pattern = rf'"{kind}":([0-9]+|"[^"]+")'
                value = re.sub(pattern, lambda f, k=kind: f'"{k}":{self._number(k, f[1])}', value)
        return value

    def _cursor(self, text):
        for kind in ("page", "scores"):
            is_signed, content = cursor_serializer(kind).loads_unsafe(text)
            if is_signed and kind == "page":
                *rest, stamp = content
                return f'"next":{[*rest, self._number("stamp", stamp)]}'
            if is_signed:
                return f'"next":{self._number("score_id", str(content))}'
        raise AssertionError("not a cursor")

    def _number(self, kind, value):
        seen = self._seen.setdefault(kind, {})
        return f"{kind} {seen.setdefault(value, len(seen))}"


def no_boards(day):
    while True:
        yield


def busy_boards(day):
    """Create BOARDS boards, 8 of them derived from `main`; keep all of them busy."""
    policies = itertools.cycle(["latest", "best", "total"])
    orders = itertools.cycle(["desc", "asc"])
    resets = itertools.cycle(
        [
            None,
            {"every": "day", "at": "06:00", "time_zone": "Europe/Vienna"},
            {"every": "week", "on": "sunday", "at": "12:15", "time_zone": "Asia/Kathmandu"},
        ]
    )
    sources = [MAIN] * 8 + [None] * 72 + [f"board-{8 + number}" for number in range(20)]
    for number, source in enumerate(sources):
        service.create(
            {
                "board_id": f"board-{number}",
                "title": f"Board {number}",
                "source": source,
                "policy": next(policies),
                "order": next(orders),
                "reset": next(resets),
                "max_score": 20 if number % 5 == 4 else None,
                "closes_at": "2026-03-01T09:00:00Z" if number % 7 == 6 else None,
            }
        )
    assert len(service.all_boards(None, {})) == BOARDS + 1
    named = [
        LocalSubscriber(day.app, [MAIN, *(f"board-{n}" for n in range(start, BOARDS, 6))])
        for start in range(6)
    ]
    other_user = day.user("other")
    ledgers = itertools.cycle(number for number, source in enumerate(sources) if source is None)
    accepted = 0
    for turn in itertools.count():
        for number in itertools.islice(ledgers, 6):
            for user in (other_user, day.players[turn % PLAYERS]):
                update = user.update(turn % 40, day.now.isoformat(), board=f"board-{number}")
                response = submit(day.client, user, update)
                accepted += response.status_code == 200
        for number in (turn % 7, 8 + turn % 40):
            service.end_season(f"board-{number}")
            service.change(f"board-{number}", {"title": f"Title {turn}"})
        if turn == 50:
            service.archive("board-7")
        if turn == 90:
            assert accepted > 500
            assert all(len(each.messages()) > 100 for each in named)
            assert all(
                service.body(service.readable(f"board-{n}", None))["season"]["number"] > 10
                for n in range(7)
            )
        yield


def test_a_day_is_the_same_with_other_boards_beside_it(record):
    alone, frames_alone = record(no_boards)
    beside, frames_beside = record(busy_boards)

    for one, other in zip(alone, beside, strict=True):
        assert one == other
    assert frames_alone == frames_beside
    assert len(alone) > 700
    assert {status for _, status, _ in alone} == {200, 304, 400, 401, 404}
    assert frames_alone[0].count(b'"score_update"') > 4 * HOURS
