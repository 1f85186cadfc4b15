"""Every endpoint refuses every bad token, changes nothing and does not log the token.

A bad token has a single defect or was invalidated by an event. Valid tokens are accepted at every
endpoint, so the defect or the event causes each refusal.
"""

import base64
import contextlib
import hmac
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import quote

import pytest
import requests
import websocket
from sqlalchemy import delete, select, update

from config import Config
from scoreboard import create_app
from scoreboard.auth import accounts, tokens
from scoreboard.db import transactions
from scoreboard.extensions import Base, db
from scoreboard.models import RevokedToken, Score, Standing, User
from tests.support import databases
from tests.support.routes import PUBLIC_ROUTES
from tests.support.servers import PASSWORD, SECRETS, Server
from tests.support.subscribers import SocketIoClient, WebSocketClient

KEY = SECRETS["JWT_SECRET_KEY"]
HS256 = {"alg": "HS256", "typ": "JWT"}


def signed(claims, header=HS256, key=KEY, digest="sha256"):
    """Return a token with this header, signed by HMAC even if the header names another method."""
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{base64url(hmac.digest(key.encode(), text.encode(), digest))}"


def base64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def changed_after_signing(claims):
    head, _, signature = signed(claims).split(".")
    return f"{head}.{base64url(json.dumps({**claims, 'role': 'scorer'}).encode())}.{signature}"


def with_header(**header):
    return lambda claims: signed(claims, HS256 | header)


def with_claims(**changes):
    return lambda claims: signed(claims | changes)


def without(name):
    return lambda claims: signed({k: v for k, v in claims.items() if k != name})


def unsigned(**header):
    return lambda claims: signed(claims, HS256 | header).rpartition(".")[0] + "."


def with_other_type(claims):
    return signed(claims | {"type": "access" if claims["type"] == "refresh" else "refresh"})


UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
ODD = [None, [], {}, "", "99999999999", 1e999, float("nan")]
MALFORMED = {
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
    "a key in the header": lambda claims: signed(
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
    "for another audience (aud)": with_claims(aud="another"),
    **{f"without {name}": without(name) for name in ("sub", "role", "type", "jti", "iat", "exp")},
    **{f"exp {odd!r}": with_claims(exp=odd) for odd in ODD},
    **{f"iat {odd!r}": with_claims(iat=odd) for odd in [*ODD, True]},
    **{f"jti {odd!r}": with_claims(jti=odd) for odd in (None, 7, [], {})},
    **{f"nbf {odd!r}": with_claims(nbf=odd) for odd in ("soon", [], 1e999)},
    **{
        f"sub {odd!r}": with_claims(sub=odd)
        for odd in (None, 7, [], {}, "", "no-uuid", "\x00", "public-viewer ", UNKNOWN_ID)
    },
    "huge": with_claims(more="x" * 5000),
    "garbage": lambda claims: "x" * 200,
    "garbage in three parts": lambda claims: "a.b.c",
    "dots": lambda claims: "..",
    "non-ASCII letters": lambda claims: "é.é.é",
    "five parts": lambda claims: signed(claims) + ".b.c",
    "twice": lambda claims: signed(claims) * 2,
}
BAD = {
    **{kind: (make, "token_invalid") for kind, make in MALFORMED.items()},
    "expired": (with_claims(exp=time.time() - 1), "token_expired"),
    "of the other type": (with_other_type, "token_type"),
    **{f"type {odd!r}": (with_claims(type=odd), "token_type") for odd in ("id", ["access"], 7, "")},
}

# Events that invalidate a token: (event, error code).
EVENTS = {
    "signed out": (lambda site, user: site.post("auth/logout", user.access), "token_revoked"),
    "signed out by the refresh token": (
        lambda site, user: site.post("auth/logout", user.refresh),
        "token_revoked",
    ),
    "refresh token reused": (lambda site, user: site.reuse(user), "token_revoked"),
    "sessions ended": (lambda site, user: site.moderate(user, "end-sessions"), "token_revoked"),
    "suspended": (lambda site, user: site.moderate(user, "suspend"), "token_revoked"),
    "suspended in the database": (
        lambda site, user: site.set(user, suspended_at=datetime.now(UTC)),
        "account_suspended",
    ),
    "deleted from the database": (lambda site, user: site.delete(user), "token_invalid"),
}

UPDATE = {"score_value": 5, "timestamp": "2026-01-02T00:00:00Z"}
OTHER_PASSWORD = {"current_password": PASSWORD, "new_password": "another password"}
ACTIONS = ["hide", "restore", "end-sessions", "suspend", "reinstate"]
TICKET = ("POST", "/api/score/ticket")
# Every HTTP endpoint that needs a token, with its body: validation precedes authorization.
ENDPOINTS = {
    ("GET", "/api/auth/me"): None,
    ("GET", "/api/users/<user_id>/scores"): None,
    ("GET", "/api/leaderboard"): None,
    ("GET", "/api/leaderboard/users/<user_id>"): None,
    ("GET", "/api/boards/<board>"): None,
    ("GET", "/api/boards/<board>/seasons"): None,
    ("GET", "/api/boards/<board>/top10"): None,
    ("GET", "/api/boards/<board>/leaderboard"): None,
    ("GET", "/api/boards/<board>/leaderboard/users/<user_id>"): None,
    ("GET", "/api/auth/me/export"): None,
    ("PATCH", "/api/auth/me"): lambda user_id: {"username": uuid.uuid4().hex},
    ("POST", "/api/auth/claim"): lambda user_id: {
        "email": f"{uuid.uuid4().hex}@example.com",
        "password": PASSWORD,
    },
    ("POST", "/api/auth/password"): lambda user_id: OTHER_PASSWORD,
    ("DELETE", "/api/auth/me"): lambda user_id: {"current_password": PASSWORD},
    ("POST", "/api/auth/logout"): None,
    ("POST", "/api/auth/refresh"): None,
    ("POST", "/api/score/update"): lambda user_id: {"user_id": user_id, **UPDATE},
    ("POST", "/api/score/batch"): lambda user_id: {"updates": [{"user_id": user_id, **UPDATE}]},
    TICKET: lambda user_id: {"board": "main"},
    **{("GET", f"/api/admin/{name}"): None for name in ("marks", "overview", "audit")},
    **{("POST", f"/api/admin/users/<user_id>/{action}"): None for action in ACTIONS},
    ("POST", "/api/admin/users/<user_id>/role"): lambda user_id: {"role": "scorer"},
    ("GET", "/api/admin/users"): None,
    ("POST", "/api/admin/users"): lambda user_id: {"username": uuid.uuid4().hex},
    ("GET", "/api/admin/users/<user_id>"): None,
    ("PATCH", "/api/admin/users/<user_id>"): lambda user_id: {"username": uuid.uuid4().hex},
    ("POST", "/api/admin/users/<user_id>/reset-link"): None,
    ("POST", "/api/admin/scores"): lambda user_id: {
        "user_id": user_id,
        "score_value": 3,
        "reason": "counted by hand",
    },
    ("POST", "/api/admin/scores/<score_id>/void"): lambda user_id: {"reason": "cheated"},
    ("POST", "/api/admin/scores/<score_id>/restore"): None,
    ("POST", "/api/admin/boards"): lambda user_id: {"board_id": "weekly", "title": "Weekly"},
    ("PATCH", "/api/admin/boards/<board>"): lambda user_id: {"title": "Every week"},
    ("POST", "/api/admin/boards/<board>/seasons"): None,
    ("POST", "/api/admin/boards/<board>/freeze"): None,
    ("POST", "/api/admin/boards/<board>/reveal"): lambda user_id: {"places": 1},
    ("POST", "/api/admin/boards/<board>/unfreeze"): None,
    ("GET", "/api/admin/boards/<board>/export.csv"): None,
    ("GET", "/api/admin/boards/<board>/export.json"): None,
    ("DELETE", "/api/admin/boards/<board>"): None,
    ("GET", "/api/admin/webhooks"): None,
    ("POST", "/api/admin/webhooks"): lambda user_id: {
        "url": "http://127.0.0.1:9/hook",  # refused: not public
        "events": ["season_ended"],
    },
    ("PATCH", "/api/admin/webhooks/<webhook_id>"): lambda user_id: {"boards": ["main"]},
    ("POST", "/api/admin/webhooks/<webhook_id>/test"): None,
    ("GET", "/api/admin/webhooks/<webhook_id>/deliveries"): None,
    ("POST", "/api/admin/webhooks/<webhook_id>/deliveries/<delivery_id>/replay"): None,
    ("DELETE", "/api/admin/webhooks/<webhook_id>"): None,
    ("DELETE", "/api/admin/users/<user_id>"): None,
}
# These end the other sign-ins of the caller, and so the tokens that the test signs next.
ENDING = [("POST", "/api/auth/claim"), ("POST", "/api/auth/password"), ("DELETE", "/api/auth/me")]
REFRESH = ("POST", "/api/auth/refresh")
# The endpoints for accounts with the role viewer, and those for each role that is not an admin.
VIEWING = [*ENDPOINTS][:15]
PLAYING = [*VIEWING, ("POST", "/api/score/update"), TICKET]
PERMITTED = {
    "viewer": VIEWING,
    "player": PLAYING,
    "scorer": [*PLAYING, ("POST", "/api/score/batch")],
}
ALLOWED, NOT_PERMITTED = (200, None), (401, "not_permitted")
TRANSPORTS = ["query", "header", "subprotocol", "socket.io"]


def connect(server, token, transport):
    """Return an open connection, or the status and code of the refusal."""
    if transport == "socket.io":
        return connect_socket_io(server, {"token": token})
    text = quote(token) if transport == "query" else token
    try:
        return WebSocketClient(server.url, text, transport)
    except websocket.WebSocketBadStatusException as error:
        return error.status_code, json.loads(error.resp_body)["error"]["code"]


def connect_all(server, token):
    """Return the result of `connect` for each transport."""
    return [connect(server, token, transport) for transport in TRANSPORTS]


def connect_socket_io(server, auth):
    """Return an open Socket.IO connection, or the code of its connect_error."""
    url = server.url.replace("http", "ws") + "/ws/scoreboard/?EIO=4&transport=websocket"
    socket = websocket.create_connection(url, 10)
    assert socket.recv().startswith("0{")
    socket.send("40" + json.dumps(auth))
    packet = socket.recv()
    if packet.startswith("40"):
        return socket
    socket.close()
    assert packet.startswith("44")
    data = json.loads(packet[2:])["data"]
    assert data.keys() == {"code", "message"}
    return data["code"]


def submit(socket, user):
    """Return the status and error code of an update; None if the server has disconnected."""
    socket.send("421" + json.dumps(["update_score", {"user_id": user.user_id, **UPDATE}]))
    while not (packet := socket.recv()).startswith("431"):
        if packet in ("", "41"):
            return None
    (response,) = json.loads(packet[3:])
    return response["status"], response["body"].get("error", {}).get("code")


def execute(*statements):
    transactions.transaction(lambda connection: [connection.execute(each) for each in statements])


def json_of(response):
    is_json = response.headers.get("Content-Type", "").startswith("application/json")
    return response.json() if response.content and is_json else None


class Site:
    """A server with users in its database."""

    def __init__(self, url):
        self.url = url
        self.admin = None
        self.admin = self.user()

    def request(self, method, path, token, body=None):
        """Return the status and body of the response."""
        headers = {"Authorization": f"Bearer {token}".encode()}
        response = requests.request(method, self.url + path, json=body, headers=headers, timeout=10)
        return response.status_code, json_of(response)

    def post(self, path, token, body=None):
        return self.request("POST", f"/api/{path}", token, body)

    def user(self, role="admin"):
        """Return a user who has signed in and has a score."""
        name = uuid.uuid4().hex
        account = accounts.create(name, f"{name}@example.com", None, role)
        pair = tokens.issue_pair(account.user_id, role)
        user = SimpleNamespace(user_id=account.user_id, role=role)
        user.access, user.refresh = pair["access_token"], pair["refresh_token"]
        body = {"user_id": user.user_id, "score_value": 1, "timestamp": "2026-01-01T00:00:00Z"}
        _, receipt = self.post("score/update", (self.admin or user).access, body)
        user.score_id = receipt["score_id"]
        return user

    def claims(self, user, kind="access"):
        """Return the claims of a valid token."""
        now = int(time.time())
        ids = {"jti": uuid.uuid4().hex, "family": uuid.uuid4().hex}
        times = {"iat": now, "exp": now + 300}
        return {"sub": user.user_id, "role": user.role, "type": kind, **ids, **times}

    def moderate(self, user, action):
        status, _ = self.post(f"admin/users/{user.user_id}/{action}", self.admin.access)
        assert status == 200

    def reuse(self, user):
        """Use the refresh token, and use it again a minute later."""
        self.post("auth/refresh", user.refresh)
        used = RevokedToken.token_id == tokens.read(user.refresh, "refresh")["jti"]
        a_minute_ago = datetime.now(UTC) - timedelta(minutes=1)
        execute(update(RevokedToken).where(used).values(revoked_at=a_minute_ago))
        self.post("auth/refresh", user.refresh)

    def set(self, user, **values):
        execute(update(User).where(User.user_id == user.user_id).values(**values))

    def delete(self, user):
        tables = Standing, Score, User
        execute(*(delete(table).where(table.user_id == user.user_id) for table in tables))

    def rows(self):
        """Return every row of every table."""
        return transactions.read(
            lambda connection: {
                table.name: sorted(map(repr, connection.execute(select(table)).all()))
                for table in Base.metadata.sorted_tables
            }
        )

    @contextlib.contextmanager
    def unchanged(self, ignored=None):
        """Fail if any table except `ignored` changes during this context."""
        before = self.rows()
        yield
        after = self.rows()
        assert [name for name in before if before[name] != after[name] and name != ignored] == []

    def responses(self, endpoints, token_of, user):
        """Return the status and body of each endpoint, requested about this user.

        `token_of` returns the token to send, by its type.
        """
        found = {}
        for method, rule in endpoints:
            path = rule.replace("<user_id>", user.user_id).replace("<score_id>", str(user.score_id))
            path = path.replace("<board>", "weekly" if "admin" in rule else "main")
            path = path.replace("<webhook_id>", "1").replace("<delivery_id>", "1")
            path += "?format=ctftime" if path.endswith("export.json") else ""
            body = ENDPOINTS.get((method, rule))
            token = token_of("refresh" if "refresh" in rule else "access")
            found[method, rule] = self.request(method, path, token, body and body(user.user_id))
        return found

    def refusals(self, *request):
        """Return the status and error code of each response; fail if a table changes."""
        with self.unchanged():
            responses = self.responses(*request)
        return errors(responses)


def errors(responses):
    """Return the status and code of each response. All must have the shape of errors."""
    assert all({*body["error"]} == {"code", "message"} for _, body in responses.values())
    return {key: (status, body["error"]["code"]) for key, (status, body) in responses.items()}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request, tmp_path_factory):
    # With a trusted proxy, bad tokens do not make the server block the address.
    settings = {"PUBLIC_BOARD": "0", "TRUSTED_PROXIES": "1"}
    if request.param == "postgres":
        settings["DATABASE_URL"] = databases.new_database()
    server = Server(tmp_path_factory.mktemp("server"), **settings)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(server):
    app = create_app(Config.from_environment(server.environment))
    with app.app_context():
        yield Site(server.url)
        db.engine.dispose()


@pytest.fixture(scope="module")
def user(site):
    """Return an admin that no test changes."""
    return site.user()


def test_the_table_has_every_endpoint_that_needs_a_token(app):
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in PUBLIC_ROUTES]
    routes = {(m, r.rule) for r in rules for m in r.methods - {"HEAD", "OPTIONS"}}

    assert routes == {*ENDPOINTS}


def test_a_valid_token_is_accepted_at_every_endpoint(site, user):
    player = site.user("player")

    endpoints = [each for each in ENDPOINTS if each not in ENDING]
    responses = site.responses(endpoints, lambda kind: signed(site.claims(user, kind)), player)

    assert {status for status, _ in responses.values()} == {200, 201, 204}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_valid_token_is_accepted_over_every_transport(site, server, user, transport):
    connection = connect(server, signed(site.claims(user)), transport)

    connection.close()  # a refusal has no such method


@pytest.mark.parametrize("defect", BAD)
def test_a_bad_token_is_refused_everywhere(site, server, user, defect):
    make, code = BAD[defect]
    made = {kind: make(site.claims(user, kind)) for kind in ("access", "refresh")}
    logout_accepts = defect == "of the other type"

    with site.unchanged(ignored="revoked_tokens" if logout_accepts else None):
        connections = connect_all(server, made["access"])
        responses = site.responses(ENDPOINTS, made.get, user)

    if logout_accepts:
        assert responses.pop(("POST", "/api/auth/logout"))[0] == 204
    assert errors(responses) == dict.fromkeys(responses, (401, code))
    assert connections == [(401, code)] * 3 + [code]
    assert not [token for token in made.values() if token in server.log()]


@pytest.mark.parametrize("event", EVENTS)
def test_an_invalidated_token_is_refused_everywhere(site, server, event):
    invalidate, code = EVENTS[event]
    user, player = site.user(), site.user("player")
    accepted, _ = site.request("GET", "/api/auth/me", user.access)
    connect(server, user.access, "header").close()
    invalidate(site, user)

    connections = connect_all(server, user.access)
    refusals = site.refusals(ENDPOINTS, vars(user).get, player)

    assert accepted == 200
    assert refusals == dict.fromkeys(ENDPOINTS, (401, code))
    assert connections == [(401, code)] * 3 + [code]
    assert not [token for token in (user.access, user.refresh) if token in server.log()]


@pytest.mark.parametrize("role", PERMITTED)
def test_a_changed_role_overrides_the_token_at_every_endpoint(site, role):
    user = site.user()
    site.set(user, role=role)
    forbidden = [each for each in ENDPOINTS if each not in [*PERMITTED[role], REFRESH]]

    refusals = site.refusals(forbidden, vars(user).get, user)

    assert refusals == dict.fromkeys(forbidden, NOT_PERMITTED)


def test_a_players_token_is_refused_for_another_user(site):
    player, other = site.user("player"), site.user("player")
    own = [*VIEWING, REFRESH, TICKET]
    forbidden = [each for each in ENDPOINTS if each not in own]
    forbidden.append(("GET", "/api/users/<user_id>/scores"))

    refusals = site.refusals(forbidden, vars(player).get, other)

    assert refusals == dict.fromkeys(forbidden, NOT_PERMITTED)


def test_a_public_viewer_token_has_no_account_even_with_the_role_admin(site, user):
    token = signed({**site.claims(user), "sub": tokens.PUBLIC_VIEWER})
    accepting = {"leaderboard", "logout", "refresh"}
    forbidden = [
        (method, path)
        for method, path in ENDPOINTS
        if "boards" in path or not accepting & {*path.split("/")}
    ]

    refusals = site.refusals(forbidden, lambda kind: token, user)

    assert refusals == dict.fromkeys(forbidden, NOT_PERMITTED)


@pytest.mark.parametrize("family", [None, 7, ["a"]], ids=repr)
def test_a_refresh_token_without_a_family_is_refused(site, user, family):
    token = signed({**site.claims(user, "refresh"), "family": family})

    assert site.refusals([REFRESH], lambda kind: token, user) == {REFRESH: (401, "token_invalid")}


@pytest.mark.parametrize(
    "shape",
    [
        lambda t: None,
        str,
        lambda t: [],
        lambda t: 7,
        lambda t: {"token": [t]},
        lambda t: {"token": {"a": t}},
    ],
    ids=["null", "text", "list", "number", "token in a list", "token in an object"],
)
def test_a_token_in_another_shape_is_missing(site, server, user, shape):
    token = signed(site.claims(user))

    assert connect_socket_io(server, shape(token)) == "token_missing"


class TestOpenConnections:
    @pytest.mark.parametrize("event", EVENTS)
    def test_an_update_after_the_event_is_refused(self, site, server, event):
        invalidate, code = EVENTS[event]
        user = site.user()
        socket = connect(server, user.access, "socket.io")
        invalidate(site, user)

        with site.unchanged():
            outcome = submit(socket, site.admin)

        socket.close()
        assert outcome in (None, (401, code))  # None: disconnected before the update arrived

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("admin", "viewer", [ALLOWED, NOT_PERMITTED]),
            ("admin", "player", [ALLOWED, NOT_PERMITTED]),
            ("player", "scorer", [NOT_PERMITTED, ALLOWED]),
        ],
    )
    def test_a_changed_role_applies_to_the_next_event(self, site, server, old, new, expected):
        user, players = site.user(old), [site.user("player") for _ in range(2)]
        socket = connect(server, user.access, "socket.io")

        before = submit(socket, players[0])
        site.set(user, role=new)
        after = submit(socket, players[1])

        socket.close()
        assert [before, after] == expected

    def test_a_new_password_closes_those_of_all_other_sign_ins(self, site, server, closing):
        user = site.user()
        other = tokens.issue_pair(user.user_id, user.role)["access_token"]
        own_sockets, other_sockets = (
            [closing(kind(server.url, token)) for kind in (WebSocketClient, SocketIoClient)]
            for token in (user.access, other)
        )

        site.post("auth/password", user.access, {"new_password": PASSWORD})

        assert [each.ended.wait(10) for each in other_sockets] == [True, True]
        site.post("score/update", user.access, {"user_id": user.user_id, **UPDATE})
        for each in own_sockets:
            each.wait_for(lambda messages: "score_update" in [m["type"] for m in messages])

    @pytest.mark.parametrize("event", [event for event in EVENTS if "database" in event])
    def test_a_change_in_the_database_closes_them(self, site, server, closing, event):
        invalidate, _ = EVENTS[event]
        user, other = site.user(), site.user()
        plain = closing(WebSocketClient(server.url, user.access))
        socket_io = closing(SocketIoClient(server.url, user.access))
        bystander = closing(WebSocketClient(server.url, other.access))

        invalidate(site, user)

        assert plain.ended.wait(10)
        assert plain.code == 4401
        assert socket_io.ended.wait(10)
        site.post("score/update", other.access, {"user_id": other.user_id, **UPDATE})
        bystander.wait_for(lambda messages: "score_update" in [m["type"] for m in messages])
