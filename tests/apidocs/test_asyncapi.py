"""The AsyncAPI document describes the messages of real connections."""

import functools
import json
import re

import jsonschema_rs
import pytest
import requests
import socketio
from websocket import WebSocketBadStatusException

from scoreboard.apidocs import openapi, reference
from scoreboard.realtime import connections
from scoreboard.realtime.socketio import handlers
from scoreboard.realtime.websocket import connection, endpoint
from tests.support.prerequisites import missing
from tests.support.servers import ROOT
from tests.support.subscribers import PATH, SocketIoClient, WebSocketClient
from tests.support.tokens import mint

SPECIFICATION = ROOT / "tests/js/node_modules/@asyncapi/specs/schemas/3.0.0.json"


@pytest.fixture(scope="module")
def server(start):
    return start()


@pytest.fixture(scope="module")
def player(server):
    return server.user("ann")


@pytest.fixture(scope="module")
def document(server):
    return requests.get(f"{server.url}/api/asyncapi.json", timeout=10).json()


@pytest.fixture(scope="module")
def check(document):
    """Return a function that validates a payload against the schema of a message."""

    def check(message, payload):
        schema = document["components"]["messages"][message]["payload"]
        schema = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(schema).validate(payload)

    return check


def test_it_is_valid_asyncapi_3(document):
    if not SPECIFICATION.exists():
        missing("the packages of tests/js are not installed")
    specification = jsonschema_rs.validator_for(json.loads(SPECIFICATION.read_text()))

    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["version"] == openapi.VERSION
    specification.validate(document)


def test_every_reference_has_a_target(document):
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))

    assert references
    for each in references:
        assert functools.reduce(dict.get, each.split("/"), document)


@pytest.mark.parametrize(
    ("subscriber", "channel"), [(WebSocketClient, "websocket"), (SocketIoClient, "socket_io")]
)
def test_messages_match_their_schemas(
    server, player, closing, check, document, subscriber, channel
):
    connected = closing(subscriber(server.url, player.token))
    connected.wait_for_count(1)
    for number in range(3):
        server.post(player.token, player.update(number + 0.5, nonce=f"{channel}{number}"))

    messages = connected.wait_for_count(7)

    for message in messages:
        check(message["type"], message)
    types = {message["type"] for message in messages}
    assert types == {"score_update", "top_10_update"}
    assert types <= set(document["channels"][channel]["messages"])


@pytest.fixture(scope="module")
def weekly(server):
    """Create a board with one field that may be null, and return the admin's headers."""
    admin = server.user("boss", "admin").bearer
    new = {"board_id": "weekly", "title": "Weekly", "source": "main", "max_score": 50}
    url = f"{server.url}/api/admin/boards"
    assert requests.post(url, json=new, headers=admin, timeout=10).status_code == 201
    return admin


@pytest.mark.parametrize(
    ("subscriber", "channel"), [(WebSocketClient, "websocket"), (SocketIoClient, "socket_io")]
)
def test_messages_of_boards_match_their_schemas(
    server, player, closing, check, document, weekly, subscriber, channel
):
    connected = closing(subscriber(server.url, player.token, boards=["weekly", "main"]))
    connected.wait_for_count(2)
    server.post(player.token, player.update(len(channel), nonce=f"board-{channel}"))
    url = f"{server.url}/api/admin/boards/weekly/seasons"
    assert requests.post(url, headers=weekly, timeout=10).status_code == 201

    messages = connected.wait_for(lambda found: found[-2]["type"] == "board_update")

    names = {message["type"]: f"board_{message['type']}" for message in messages}
    names["board_update"] = "board_update"
    for message in messages:
        check(names[message["type"]], message)
    assert names.keys() == {"score_update", "top_10_update", "board_update"}
    assert set(names.values()) <= set(document["channels"][channel]["messages"])


@pytest.mark.parametrize(
    ("event", "body", "status"),
    [
        ("subscribe", {"board": "weekly"}, 200),
        ("subscribe", {"board": "nix"}, 404),
        ("subscribe", {"board": 1}, 400),
        ("unsubscribe", {"board": "weekly"}, 200),
        ("unsubscribe", [], 400),
    ],
)
def test_subscriptions_match_their_schema(
    server, player, closing, check, weekly, event, body, status
):
    client = closing(SocketIoClient(server.url, player.token, boards=[]))

    acknowledgement = client.call(event, body)

    assert acknowledgement["status"] == status
    check("subscription", acknowledgement)
    if status == 200:
        check(event, body)


def test_the_parameters_of_a_handshake_match_the_server(server, player, closing, check, document):
    auth = {"token": player.token, "boards": ["main"]}
    query = document["channels"]["websocket"]["bindings"]["ws"]["query"]["properties"]

    check("connect", auth)
    for boards in ("main", {}, ["Main"], ["main"] * 21):
        with pytest.raises(jsonschema_rs.ValidationError):
            check("connect", {**auth, "boards": boards})
    assert query.keys() == {"token", "board"}
    for board, is_valid in (("main", True), ("main,a-1", True), ("", False), ("a,", False)):
        assert bool(re.search(query["board"]["pattern"], board)) is is_valid


def test_a_message_with_another_field_does_not_match(check):
    with pytest.raises(jsonschema_rs.ValidationError):
        check("score_update", {"type": "score_update", "data": {"user_id": "x", "score": 1}})


@pytest.fixture
def client(server, player):
    client = socketio.Client()
    client.connect(server.url, auth={"token": player.token}, socketio_path=PATH)
    yield client
    client.disconnect()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"nonce": "fresh-one"}, 200),
        ({"nonce": "fresh-one"}, 400),
        ({"score_value": "1"}, 400),
        ({"timestamp": "2999-01-01"}, 400),
        ({"user_id": "3b9d5c1e-8a44-4f0e-9c55-0d9b3f6e7a21"}, 401),
    ],
)
def test_acknowledgements_match_their_schema(client, player, check, change, status):
    acknowledgement = client.call("update_score", {**player.update(5), **change}, timeout=10)

    assert acknowledgement["status"] == status
    check("acknowledgement", acknowledgement)


@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_acknowledgement_has_only_the_codes_of_the_endpoint(check, status):
    error = {"error": {"code": "unknown_score", "message": "m"}}

    with pytest.raises(jsonschema_rs.ValidationError):
        check("acknowledgement", {"status": status, "body": error})


def test_addresses_and_close_codes_match_the_server(document):
    websocket, socket_io = (document["channels"][name] for name in ("websocket", "socket_io"))

    assert websocket["address"] == endpoint.PATH
    assert socket_io["address"] == f"{handlers.PATH}/"
    assert f"`{endpoint.SUBPROTOCOL}`" in websocket["description"]
    assert {int(code) for code in websocket["x-close-codes"]} == {
        connections.UNAUTHORIZED,
        connections.SERVICE_RESTART,
        connection.SLOW,
        connection.TOO_BIG,
        connection.PROTOCOL_ERROR,
        connection.INTERNAL_ERROR,
    }


@pytest.mark.parametrize(
    "claims",
    [None, {"exp": 1}, {"type": "refresh"}, {"key": "another-key-of-at-least-32-characters"}],
)
def test_refused_connections_match_their_schema(server, player, check, claims):
    client, errors = socketio.Client(), []
    client.on("connect_error", errors.append)
    token = mint(player.user_id, **claims) if claims else None
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            server.url, auth={"token": token}, socketio_path=PATH, transports=["websocket"]
        )

    check("connect_error", errors[0])


@pytest.mark.parametrize("boards", ["weekly", ["nix"]])
def test_refused_boards_match_their_schema(server, player, check, boards):
    client, errors = socketio.Client(), []
    client.on("connect_error", errors.append)
    auth = {"token": player.token, "boards": boards}
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(server.url, auth=auth, socketio_path=PATH, transports=["websocket"])

    check("connect_error", errors[0])


def test_the_code_of_a_refused_handshake_is_listed(server, document):
    with pytest.raises(WebSocketBadStatusException) as refused:
        WebSocketClient(server.url, "nonsense")

    code = json.loads(refused.value.resp_body)["error"]["code"]
    assert code in document["channels"]["websocket"]["x-refusals"]
    assert reference.codes()[code]["status"] == refused.value.status_code
