"""Bad tokens of every kind at every door: refused, with nothing changed and no word of the token.

A kind is a token that is good but for one thing, or one that was good until something happened. A
door is a way in that asks for a token. That a good one is let in everywhere is shown as well, or
none of this would say anything.
"""

import base64
import contextlib
import hmac
import itertools
import json
import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import quote

import jwt
import pytest
import requests
import websocket
from sqlalchemy import delete, select, update

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, tokens
from scoreboard.db import transactions as database
from scoreboard.extensions import Base, db
from scoreboard.models import RevokedToken, Score, Standing, User
from tests.support import databases
from tests.support.routes import PUBLIC_ROUTES
from tests.support.servers import SECRETS, Server
from tests.support.subscribers import PlainViewer, SocketIoViewer

KEY = SECRETS["JWT_SECRET_KEY"]
NAMES = (f"Person-{number}" for number in itertools.count())
HS256 = {"alg": "HS256", "typ": "JWT"}
SETTINGS = {
    **SECRETS,
    "SCORE_RATE_LIMIT": "1000000/minute",
    "AUTH_RATE_LIMIT": "1000000/minute",
    "PUBLIC_BOARD": "0",
}


def signed(claims, header=HS256, key=KEY, digest="sha256"):
    """Return a token with this very header, signed by HMAC whatever the header says."""
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{base64url(hmac.digest(key.encode(), text.encode(), digest))}"


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def changed_after_signing(claims):
    head, _, signature = signed(claims).split(".")
    return f"{head}.{base64url(json.dumps({**claims, 'role': 'scorer'}).encode())}.{signature}"


def with_header(**header):
    return lambda claims: signed(claims, {**HS256, **header})


def with_claims(**changes):
    return lambda claims: signed({**claims, **changes})


def without(name):
    return lambda claims: signed({k: v for k, v in claims.items() if k != name})


def unsigned(**header):
    return lambda claims: signed(claims, {**HS256, **header}).rpartition(".")[0] + "."


def swapped(claims):
    return signed({**claims, "type": {"access": "refresh", "refresh": "access"}[claims["type"]]})


def jti_of(token):
    return jwt.decode(token, options={"verify_signature": False})["jti"]


NOBODY = "00000000-0000-4000-8000-000000000000"
ODD = [None, [], {}, "", "99999999999", 1e999, float("nan")]
MADE_BADLY = {
    "alg none": unsigned(alg="none"),
    "alg nOnE": unsigned(alg="nOnE"),
    "alg none, signed": with_header(alg="none"),
    "no alg": lambda claims: signed(claims, {"typ": "JWT"}),
    "alg of an odd type": with_header(alg=["HS256"]),
    "HS384 with our key": lambda claims: signed(claims, {"alg": "HS384"}, digest="sha384"),
    "HS512 with our key": lambda claims: signed(claims, {"alg": "HS512"}, digest="sha512"),
    "HS512 by name": with_header(alg="HS512"),
    "RS256 by name": with_header(alg="RS256"),
    "ES256 by name": with_header(alg="ES256"),
    "another key": lambda claims: signed(claims, key="k" * 48),
    "an empty key": lambda claims: signed(claims, key=""),
    "the key of cursors": lambda claims: signed(claims, key=SECRETS["SECRET_KEY"]),
    "a key it brings along": lambda claims: signed(
        claims, {**HS256, "jwk": {"kty": "oct", "k": base64url(b"k" * 48)}}, "k" * 48
    ),
    "no signature": unsigned(),
    "part of a signature": lambda claims: signed(claims)[:-4],
    "changed after signing": changed_after_signing,
    "crit": with_header(crit=["exp"]),
    "crit of an odd type": with_header(crit="exp"),
    "b64": with_header(b64=False),
    "crit b64": with_header(crit=["b64"], b64=False),
    "header no object": lambda claims: signed(claims, ["HS256"]),
    "claims no object": lambda claims: signed([claims]),
    "not yet valid": with_claims(nbf=time.time() + 3600),
    "issued in the future": with_claims(iat=time.time() + 3600),
    "for another audience": with_claims(aud="another"),
    **{f"without {name}": without(name) for name in ("sub", "role", "type", "jti", "iat", "exp")},
    **{f"exp {odd!r}": with_claims(exp=odd) for odd in ODD},
    **{f"iat {odd!r}": with_claims(iat=odd) for odd in [*ODD, True]},
    **{f"jti {odd!r}": with_claims(jti=odd) for odd in (None, 7, [], {})},
    **{f"nbf {odd!r}": with_claims(nbf=odd) for odd in ("soon", [], 1e999)},
    **{
        f"sub {odd!r}": with_claims(sub=odd)
        for odd in (None, 7, [], {}, "", "somebody", "\x00", "public-viewer ", NOBODY)
    },
    "huge": with_claims(more="x" * 5000),
    "garbage": lambda claims: "x" * 200,
    "garbage in three parts": lambda claims: "a.b.c",
    "dots": lambda claims: "..",
    "letters of another kind": lambda claims: "é.é.é",
    "five parts": lambda claims: signed(claims) + ".b.c",
    "twice": lambda claims: signed(claims) * 2,
}
BAD = {
    **{kind: (make, "token_invalid") for kind, make in MADE_BADLY.items()},
    "expired": (with_claims(exp=time.time() - 1), "token_expired"),
    "of the other type": (swapped, "token_type"),
    **{f"type {odd!r}": (with_claims(type=odd), "token_type") for odd in ("id", ["access"], 7, "")},
}

# What makes good tokens bad: done by an admin, by the holder, or straight in the database.
HAPPENED = {
    "signed out": (lambda world, who: world.post("auth/logout", who.access), "token_revoked"),
    "signed out by the refresh token": (
        lambda world, who: world.post("auth/logout", who.refresh),
        "token_revoked",
    ),
    "family ended by reuse": (lambda world, who: world.reuse(who), "token_revoked"),
    "sessions ended": (lambda world, who: world.moderate(who, "end-sessions"), "token_revoked"),
    "suspended": (lambda world, who: world.moderate(who, "suspend"), "token_revoked"),
    "suspended in the database": (
        lambda world, who: world.set(who, suspended_at=datetime.now(UTC)),
        "account_suspended",
    ),
    "deleted from the database": (lambda world, who: world.delete(who), "token_invalid"),
}

UPDATE = {"score_value": 5, "timestamp": "2026-01-02T00:00:00Z"}
ACTS = ["hide", "restore", "end-sessions", "suspend", "reinstate"]
# The ways in by HTTP, by method and rule, and what is sent there: a body is checked before a token.
DOORS = {
    ("GET", "/api/auth/me"): None,
    ("GET", "/api/users/<user_id>/scores"): None,
    ("GET", "/api/leaderboard"): None,
    ("GET", "/api/leaderboard/users/<user_id>"): None,
    ("POST", "/api/auth/logout"): None,
    ("POST", "/api/auth/refresh"): None,
    ("POST", "/api/score/update"): lambda user_id: {"user_id": user_id, **UPDATE},
    ("POST", "/api/score/batch"): lambda user_id: {"updates": [{"user_id": user_id, **UPDATE}]},
    **{("GET", f"/api/admin/{what}"): None for what in ("marks", "overview", "audit")},
    **{("POST", f"/api/admin/users/<user_id>/{act}"): None for act in ACTS},
    ("POST", "/api/admin/users/<user_id>/role"): lambda user_id: {"role": "scorer"},
    ("POST", "/api/admin/scores/<score_id>/void"): lambda user_id: {"reason": "cheated"},
}
PLAIN = ["query", "header", "subprotocol"]


class World:
    """A database with people in it, and the scoreboard on it, in this process or another."""

    def __init__(self, app, ask):
        self.app, self.ask = app, ask
        self.admin = self.person("admin")

    def person(self, role="admin"):
        """Return somebody who has signed in and has a score. By default one who may do it all."""
        name = next(NAMES)
        account = accounts.create(name, f"{name}@example.com".lower(), None, role)
        pair = tokens.issue_pair(account.user_id, role)
        who = SimpleNamespace(user_id=account.user_id, role=role)
        who.access, who.refresh = pair["access_token"], pair["refresh_token"]
        return who

    def scored(self, role="admin"):
        who = self.person(role)
        body = {"user_id": who.user_id, "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"}
        who.score_id = self.post("score/update", self.admin.access, body)[1]["score_id"]
        return who

    def claims(self, who, kind="access"):
        """Return the claims of a good token, as for the access door or that of refresh tokens."""
        now = int(time.time())
        return {
            "sub": who.user_id,
            "role": who.role,
            "type": kind,
            "jti": uuid.uuid4().hex,
            "family": uuid.uuid4().hex,
            "iat": now,
            "exp": now + 300,
        }

    def post(self, path, token, body=None):
        return self.ask("POST", f"/api/{path}", token, body)

    def moderate(self, who, act):
        status, _ = self.post(f"admin/users/{who.user_id}/{act}", self.admin.access)
        assert status == 200

    def reuse(self, who):
        """Use the refresh token, and use it again a minute later."""
        self.post("auth/refresh", who.refresh)
        long_ago = datetime.now(UTC) - timedelta(minutes=1)
        used = update(RevokedToken).where(RevokedToken.token_id == jti_of(who.refresh))
        database.transaction(lambda c: c.execute(used.values(revoked_at=long_ago)))
        self.post("auth/refresh", who.refresh)

    def set(self, who, **values):
        statement = update(User).where(User.user_id == who.user_id).values(**values)
        database.transaction(lambda connection: connection.execute(statement))

    def delete(self, who):
        def work(connection):
            for table in (Standing, Score, User):
                connection.execute(delete(table).where(table.user_id == who.user_id))

        database.transaction(work)

    def everything(self):
        """Return every row of every table."""
        return database.read(
            lambda connection: {
                table.name: sorted(map(repr, connection.execute(select(table)).all()))
                for table in Base.metadata.sorted_tables
            }
        )

    def at(self, door, token, whose):
        """Ask at this door for something of this user; return the status and the body."""
        method, rule = door
        path = rule.replace("<user_id>", whose.user_id).replace("<score_id>", str(whose.score_id))
        body = DOORS[door] and DOORS[door](whose.user_id)
        return self.ask(method, path, token, body)

    def at_every_door(self, token_for, whose):
        """Return what each door says to the token of the kind it asks for."""
        return {
            door: self.at(door, token_for("refresh" if "refresh" in door[1] else "access"), whose)
            for door in DOORS
        }


@contextlib.contextmanager
def inside(url):
    """Give an application on this database, in whose context all is done here."""
    app = create_app(Config.from_environment({**SETTINGS, "DATABASE_URL": url}))
    with app.app_context():
        yield app
        db.engine.dispose()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request, tmp_path_factory):
    """Return the scoreboard inside this process, on either database."""
    if request.param == "postgres":
        url = databases.emptied_postgres()
    else:
        url = databases.copied_sqlite(tmp_path_factory.mktemp("database"))

    def ask(method, path, token, body, **headers):
        authorization = f"Bearer {token}".encode().decode("latin-1")
        answer = app.test_client().open(
            path, method=method, json=body, headers={"Authorization": authorization, **headers}
        )
        return answer.status_code, answer.json

    with inside(url) as app:
        yield World(app, ask)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # Behind a proxy no address is refused at accept, however many of its tokens are bad.
    server = Server(tmp_path_factory.mktemp("server"), PUBLIC_BOARD="0", TRUSTED_PROXIES="1")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def outside(server):
    """Return the scoreboard as a server of its own."""

    def ask(method, path, token, body):
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(method, server.url + path, json=body, headers=headers, timeout=10)
        return answer.status_code, answer.json() if answer.content else None

    with inside(server.environment["DATABASE_URL"]) as app:
        yield World(app, ask)


@pytest.fixture
def logged():
    """Return a function that tells all that was logged, by whomever, before it is cleaned."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(f"{record.getMessage()} {record.exc_info}")
    loggers = [logging.getLogger(name) for name in ("", "scoreboard", "scoreboard.audit")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lambda: "\n".join(records)
    for logger in loggers:
        logger.removeHandler(handler)


def refusals(answers):
    """Return status and code of each answer, all of which must have the shape of errors."""
    assert all({*body["error"]} == {"code", "message"} for _, body in answers.values() if body)
    return {door: (status, body["error"]["code"]) for door, (status, body) in answers.items()}


@pytest.fixture
def holder(world):
    return world.scored()


def test_every_route_that_asks_for_a_token_is_a_door(world):
    rules = [rule for rule in world.app.url_map.iter_rules() if rule.endpoint not in PUBLIC_ROUTES]
    routes = {(m, r.rule) for r in rules for m in r.methods - {"HEAD", "OPTIONS"}}

    assert routes == {*DOORS}


def test_a_good_token_is_let_in_at_every_door(world, holder):
    whose = world.scored("player")

    answers = world.at_every_door(lambda kind: signed(world.claims(holder, kind)), whose)

    assert {status for status, _ in answers.values()} == {200, 204}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_token_is_refused_at_every_door(world, holder, logged, kind):
    make, code = BAD[kind]
    made = {name: make(world.claims(holder, name)) for name in ("access", "refresh")}
    before = world.everything()

    answers = world.at_every_door(made.get, holder)

    if kind == "of the other type":  # to sign out, either type is right
        status, _ = answers.pop(("POST", "/api/auth/logout"))
        assert status == 204
        before.pop("revoked_tokens")
    assert refusals(answers) == dict.fromkeys(answers, (401, code))
    assert world.everything() | before == world.everything()
    assert "score_update" in logged()
    assert not [token for token in made.values() if token in logged()]


@pytest.mark.parametrize("event", HAPPENED)
def test_a_token_that_was_good_is_refused_at_every_door(world, holder, logged, event):
    happen, code = HAPPENED[event]
    assert world.at(("GET", "/api/auth/me"), holder.access, holder)[0] == 200
    whose = world.scored("player")
    happen(world, holder)
    before = world.everything()

    answers = world.at_every_door(vars(holder).get, whose)

    assert refusals(answers) == dict.fromkeys(DOORS, (401, code))
    assert world.everything() == before
    assert holder.access not in logged()
    assert holder.refresh not in logged()


WATCHING = [*DOORS][:5]
MAY = {
    "viewer": WATCHING,
    "player": [*WATCHING, ("POST", "/api/score/update")],
    "scorer": [*WATCHING, ("POST", "/api/score/update"), ("POST", "/api/score/batch")],
}


@pytest.mark.parametrize("role", MAY)
def test_a_role_taken_away_counts_at_every_door_whatever_the_token_says(world, holder, role):
    world.set(holder, role=role)
    closed = [door for door in DOORS if door not in [*MAY[role], ("POST", "/api/auth/refresh")]]
    before = world.everything()

    answers = {door: world.at(door, holder.access, holder) for door in closed}

    assert refusals(answers) == dict.fromkeys(closed, (401, "not_permitted"))
    assert world.everything() == before


def test_a_players_token_is_refused_where_it_is_about_another_user(world):
    player, other = world.scored("player"), world.scored("player")
    doors = [door for door in DOORS if door not in MAY["viewer"] and "refresh" not in door[1]]
    doors.append(("GET", "/api/users/<user_id>/scores"))
    before = world.everything()

    answers = {door: world.at(door, player.access, other) for door in doors}

    assert refusals(answers) == dict.fromkeys(doors, (401, "not_permitted"))
    assert world.everything() == before


def test_a_public_viewers_token_is_nobodys_whatever_role_it_says(world, holder):
    token = signed({**world.claims(holder), "sub": tokens.PUBLIC_VIEWER})
    doors = [
        door for door in DOORS if not {"leaderboard", "logout", "refresh"} & {*door[1].split("/")}
    ]
    before = world.everything()

    answers = {door: world.at(door, token, holder) for door in doors}

    assert refusals(answers) == dict.fromkeys(doors, (401, "not_permitted"))
    assert world.everything() == before


@pytest.mark.parametrize("family", [None, 7, ["a"]], ids=repr)
def test_a_refresh_token_of_no_sign_in_is_refused(world, holder, family):
    claims = {**world.claims(holder, "refresh"), "family": family}

    status, body = world.post("auth/refresh", signed(claims))

    assert (status, body["error"]["code"]) == (401, "token_invalid")


class Client:
    """Whoever comes by socket: opens a connection with a token, or is told why not."""

    def __init__(self, server):
        self.address = server.url.replace("http", "ws") + "/ws/scoreboard"

    def socket_io(self, token):
        """Return an open Socket.IO connection, or the code of its connect_error."""
        socket = self.connect(f"{self.address}/?EIO=4&transport=websocket")
        assert socket.recv().startswith("0{")
        socket.send("40" + json.dumps({"token": token}))
        answer = socket.recv()
        if answer.startswith("40"):
            return socket
        socket.close()
        assert answer.startswith("44")
        refusal = json.loads(answer[2:])
        assert refusal["data"].keys() == {"code", "message"}
        return refusal["data"]["code"]

    def plain(self, token, how):
        """Return an open WebSocket, or the status and code its handshake was answered with."""
        query = f"?token={quote(token)}" if how == "query" else ""
        header = [f"Authorization: Bearer {token}"] if how == "header" else []
        offered = ["scoreboard", token] if how == "subprotocol" else None
        try:
            return self.connect(self.address + query, header=header, subprotocols=offered)
        except websocket.WebSocketBadStatusException as error:
            refusal = error
        body = json.loads(refusal.resp_body)
        return refusals({how: (refusal.status_code, body)})[how]

    def submit(self, socket, body):
        """Return the acknowledgement of an update by event, None if the server ended it all."""
        socket.send("421" + json.dumps(["update_score", body]))
        while not (packet := socket.recv()).startswith("431"):
            if packet in ("", "41"):
                return None
        return json.loads(packet[3:])[0]

    def connect(self, address, **options):
        return websocket.create_connection(address, timeout=10, **options)

    def everywhere(self, token):
        """Return what each way in by socket comes to."""
        return {how: self.plain(token, how) for how in PLAIN} | {"io": self.socket_io(token)}


def refused_everywhere(code):
    return {**dict.fromkeys(PLAIN, (401, code)), "io": code}


@pytest.fixture(scope="module")
def client(server):
    return Client(server)


@pytest.fixture(scope="module")
def resident(outside):
    return outside.scored()


class TestSockets:
    def test_a_good_token_is_let_in_everywhere(self, outside, client, resident):
        opened = client.everywhere(signed(outside.claims(resident)))

        for socket in opened.values():
            assert "top_10_update" in socket.recv()
            socket.close()

    @pytest.mark.parametrize("kind", BAD)
    def test_a_bad_token_is_refused_everywhere(self, outside, server, client, resident, kind):
        make, code = BAD[kind]
        token = make(outside.claims(resident))
        before = outside.everything()

        assert client.everywhere(token) == refused_everywhere(code)
        assert outside.everything() == before
        assert token not in server.log()

    @pytest.mark.parametrize("event", HAPPENED)
    def test_a_token_that_was_good_is_refused_everywhere(self, outside, server, client, event):
        happen, code = HAPPENED[event]
        holder = outside.scored()
        client.plain(holder.access, "header").close()
        happen(outside, holder)

        assert client.everywhere(holder.access) == refused_everywhere(code)
        assert holder.access not in server.log()

    @pytest.mark.parametrize(
        "auth", ["null", '"{}"', "[]", "7", '{{"token": ["{}"]}}', '{{"token": {{"a": "{}"}}}}']
    )
    def test_a_token_in_another_shape_is_none(self, outside, client, resident, auth):
        socket = client.connect(f"{client.address}/?EIO=4&transport=websocket")
        socket.recv()

        socket.send("40" + auth.format(signed(outside.claims(resident))))

        answer = socket.recv()
        socket.close()
        assert (answer[:2], json.loads(answer[2:])["data"]["code"]) == ("44", "token_missing")


IN_THE_DATABASE = [event for event in HAPPENED if "database" in event]


class TestOpenConnections:
    """What was admitted with a good token, and its user changed then."""

    def refused(self, outside, socket, client, body):
        before = outside.everything()

        answer = client.submit(socket, body)

        assert outside.everything() == before
        return answer and (answer["status"], answer["body"]["error"]["code"])

    @pytest.mark.parametrize("event", HAPPENED)
    def test_no_update_is_taken_from_them(self, outside, client, event):
        happen, code = HAPPENED[event]
        holder = outside.scored()
        socket = client.socket_io(holder.access)
        happen(outside, holder)

        body = {"user_id": outside.admin.user_id, **UPDATE}
        told = self.refused(outside, socket, client, body)

        socket.close()
        assert told in (None, (401, code))  # None: closed before it could be told

    @pytest.mark.parametrize("role", ["viewer", "player"])
    def test_a_role_taken_away_counts_with_the_next_event(self, outside, client, role):
        holder = outside.scored()
        socket = client.socket_io(holder.access)
        outside.set(holder, role=role)

        body = {"user_id": outside.admin.user_id, **UPDATE}
        told = self.refused(outside, socket, client, body)

        socket.close()
        assert told == (401, "not_permitted")

    def test_a_role_given_counts_with_the_next_event(self, outside, client):
        player, other = outside.scored("player"), outside.scored("player")
        socket = client.socket_io(player.access)
        body = {"user_id": other.user_id, **UPDATE}
        assert self.refused(outside, socket, client, body) == (401, "not_permitted")

        outside.set(player, role="scorer")

        assert client.submit(socket, body)["status"] == 200
        socket.close()

    @pytest.mark.parametrize("event", IN_THE_DATABASE)
    def test_they_are_closed_whoever_wrote_it_there(self, outside, server, watching, event):
        happen, _ = HAPPENED[event]
        holder, other = outside.scored(), outside.scored()
        plain = watching(PlainViewer(server.url, holder.access))
        socket_io = watching(SocketIoViewer(server.url, holder.access))
        bystander = watching(PlainViewer(server.url, other.access))

        happen(outside, holder)

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        outside.post("score/update", other.access, {"user_id": other.user_id, **UPDATE})
        bystander.wait_for(lambda messages: "score_update" in [m["type"] for m in messages])
