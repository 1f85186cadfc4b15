"""The AsyncAPI document describes the messages of real connections."""

import copy
import json

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
from tests.support.servers import ROOT, Server
from tests.support.subscribers import PATH, SocketIoClient, WebSocketClient
from tests.support.tokens import mint

SPECIFICATION = ROOT / "tests" / "js" / "node_modules" / "@asyncapi" / "specs" / "schemas"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def player(server):
    return server.user("ann")


@pytest.fixture(scope="module")
def document(server):
    return requests.get(f"{server.url}/api/asyncapi.json", timeout=10).json()


@pytest.fixture(scope="module")
def check(document):
    """Return a function that validates a payload with the schema of the message of this name."""

    def check(name, payload):
        schema = document["components"]["messages"][name]["payload"]
        schema = {**schema, "components": document["components"]}
        jsonschema_rs.validator_for(schema).validate(payload)

    return check


@pytest.fixture(scope="module")
def specification():
    """Return the validator of AsyncAPI documents."""
    path = SPECIFICATION / "3.0.0.json"
    if not path.exists():
        missing("the packages of tests/js are not installed")
    return jsonschema_rs.validator_for(json.loads(path.read_text()))


def references(node):
    """Yield the target of every reference in a document."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from references(each)


def test_it_is_valid_asyncapi_3(document, specification):
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["version"] == openapi.VERSION
    specification.validate(document)
    for each in references(document):
        target = document
        for step in each.removeprefix("#/").split("/"):
            target = target[step]


@pytest.mark.parametrize("part", ["channels", "operations"])
def test_the_validator_refuses_unknown_properties(document, specification, part):
    broken = copy.deepcopy(document)
    next(iter(broken[part].values()))["surplus"] = 1

    assert not specification.is_valid(broken)


@pytest.mark.parametrize(
    ("subscriber", "channel"), [(WebSocketClient, "websocket"), (SocketIoClient, "socket_io")]
)
def test_messages_are_as_described(server, player, closing, check, document, subscriber, channel):
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


def test_another_message_does_not_match(check):
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
def test_acknowledgements_are_as_described(client, player, check, change, status):
    acknowledgement = client.call("update_score", {**player.update(5), **change}, timeout=10)

    assert acknowledgement["status"] == status
    check("acknowledgement", acknowledgement)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "replayed"), (401, "token_expired"), (500, "stopping")]
)
def test_an_acknowledgement_may_have_only_the_codes_of_the_endpoint(check, status, code):
    def check_code(code):
        error = {"error": {"code": code, "message": "m"}}
        check("acknowledgement", {"status": status, "body": error})

    check_code(code)
    with pytest.raises(jsonschema_rs.ValidationError):
        check_code("unknown_score")


def test_addresses_and_close_codes_are_those_of_the_server(document):
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
def test_refused_connections_are_as_described(server, player, check, claims):
    client, errors = socketio.Client(), []
    client.on("connect_error", errors.append)
    token = mint(player.user_id, **claims) if claims else None
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            server.url, auth={"token": token}, socketio_path=PATH, transports=["websocket"]
        )

    check("connect_error", errors[0])


def test_the_code_of_a_refused_handshake_is_listed(server, document):
    with pytest.raises(WebSocketBadStatusException) as refused:
        WebSocketClient(server.url, "nonsense")

    code = json.loads(refused.value.resp_body)["error"]["code"]
    assert code in document["channels"]["websocket"]["x-refusals"]
    assert reference.codes()[code]["status"] == refused.value.status_code
