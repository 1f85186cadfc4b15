"""The AsyncAPI document says what the live connections say, held against real ones."""

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
from scoreboard.realtime.websocket import connection as websocket
from scoreboard.realtime.websocket import endpoint as plain
from tests.support.prerequisites import missing
from tests.support.servers import ROOT, Server
from tests.support.subscribers import PATH, PlainViewer, SocketIoViewer
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
    """Return a function that holds a payload against the schema of the message of this name."""

    def check(name, payload):
        schema = {
            **document["components"]["messages"][name]["payload"],
            "components": document["components"],
        }
        jsonschema_rs.validator_for(schema).validate(payload)

    return check


def specification():
    path = SPECIFICATION / "3.0.0.json"
    if not path.exists():
        missing("the packages of tests/js are not installed")
    return jsonschema_rs.validator_for(json.loads(path.read_text()))


def test_it_is_valid_asyncapi_3(document):
    assert document["asyncapi"] == "3.0.0"
    specification().validate(document)


@pytest.mark.parametrize("part", ["channels", "operations"])
def test_that_it_is_valid_is_not_said_of_everything(document, part):
    broken = copy.deepcopy(document)
    next(iter(broken[part].values()))["surplus"] = 1

    assert not specification().is_valid(broken)


def references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def test_every_reference_leads_somewhere(document):
    for each in references(document):
        found = document
        for step in each.removeprefix("#/").split("/"):
            found = found[step]


@pytest.mark.parametrize("viewer", [PlainViewer, SocketIoViewer])
def test_what_viewers_are_sent_is_as_described(server, player, watching, check, document, viewer):
    watched = watching(viewer(server.url, player.token))
    watched.wait_for_count(1)
    for number in range(3):
        server.post(player.token, player.update(number + 0.5, nonce=f"{viewer.__name__}{number}"))

    messages = watched.wait_for(lambda so_far: len(so_far) >= 7)

    for message in messages:
        check(message["type"], message)
    assert {message["type"] for message in messages} == {"score_update", "top_10_update"}
    channel = "websocket" if viewer is PlainViewer else "socket_io"
    assert {message["type"] for message in messages} <= set(
        document["channels"][channel]["messages"]
    )


def test_what_is_wrong_with_a_message_is_found(check):
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
def test_every_acknowledgement_is_as_described(client, player, check, change, status):
    answer = client.call("update_score", {**player.update(5), **change}, timeout=10)

    assert answer["status"] == status
    check("acknowledgement", answer)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "replayed"), (401, "token_expired"), (500, "stopping")]
)
def test_an_acknowledgement_may_have_each_code_of_the_endpoint(check, status, code):
    check("acknowledgement", {"status": status, "body": {"error": {"code": code, "message": "m"}}})
    other = {"error": {"code": "unknown_score", "message": "m"}}
    with pytest.raises(jsonschema_rs.ValidationError):
        check("acknowledgement", {"status": status, "body": other})


def test_the_addresses_and_close_codes_are_those_of_the_server(document):
    channels = document["channels"]

    assert channels["websocket"]["address"] == plain.PATH
    assert channels["socket_io"]["address"] == f"{handlers.PATH}/"
    assert f"`{plain.SUBPROTOCOL}`" in channels["websocket"]["description"]
    assert {int(code) for code in channels["websocket"]["x-close-codes"]} == {
        connections.UNAUTHORIZED,
        connections.SERVICE_RESTART,
        websocket.SLOW,
        websocket.TOO_BIG,
        websocket.PROTOCOL_ERROR,
        websocket.INTERNAL_ERROR,
    }


def refusal(server, token):
    """Return what the Socket.IO client is told that is refused."""
    client, told = socketio.Client(), []
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        client.connect(
            server.url, auth={"token": token}, socketio_path=PATH, transports=["websocket"]
        )
    return told[0]


def test_every_refusal_is_as_described(server, player, check):
    for token in (
        None,
        "nonsense",
        mint(player.user_id, exp=1),
        mint(player.user_id, type="refresh"),
    ):
        check("connect_error", refusal(server, token))


def test_the_handshake_of_a_websocket_is_refused_with_a_code_that_is_listed(server, document):
    with pytest.raises(WebSocketBadStatusException) as refused:
        PlainViewer(server.url, "nonsense")

    code = json.loads(refused.value.resp_body)["error"]["code"]
    assert code in document["channels"]["websocket"]["x-refusals"]
    assert reference.codes()[code]["status"] == refused.value.status_code


def test_a_connection_is_closed_with_a_code_that_is_listed(server, watching, document):
    gone = server.user("gone")
    viewer = watching(PlainViewer(server.url, gone.token))
    viewer.wait_for_count(1)
    requests.post(f"{server.url}/api/auth/logout", headers=gone.bearer, timeout=10)

    assert viewer.ended.wait(10)
    assert str(viewer.code) in document["channels"]["websocket"]["x-close-codes"]
    assert viewer.code == 4401


def test_both_documents_are_of_one_version(document):
    assert document["info"]["version"] == openapi.VERSION
