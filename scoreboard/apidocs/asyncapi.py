"""Build the AsyncAPI document from asyncapi.toml and the schemas of the messages."""

from ..boards.schemas import board_reference_schema
from ..realtime import schemas as live
from ..scores.schemas import receipt_schema, update_schema
from . import openapi, reference
from .schemas import Document, Json, example_of

SENT = {
    "score_update": live.ScoreUpdateSchema(),
    "top_10_update": live.Top10UpdateSchema(),
    "board_score_update": live.NamedScoreUpdateSchema(),
    "board_top_10_update": live.NamedTop10UpdateSchema(),
    "board_update": live.BoardUpdateSchema(),
}
RECEIVED = {
    "connect": live.handshake_schema,
    "update_score": update_schema,
    "subscribe": board_reference_schema,
    "unsubscribe": board_reference_schema,
}


def document(endpoints: Json) -> Json:
    """Return the AsyncAPI 3.0 document; `endpoints` is the OpenAPI document."""
    document, converted = reference.load("asyncapi"), Document("", openapi.VERSION)
    document["info"]["version"] = openapi.VERSION
    channels, messages = document["channels"], document["components"]["messages"]
    schemas = document["components"]["schemas"] = converted.components.schemas
    schemas["Error"] = openapi.error_schema()
    receipt = converted.refer(receipt_schema, response=True)
    watched = openapi.object_schema({"board": {"type": "string", "examples": ["weekly"]}}, "board")
    payloads = {
        **{name: converted.refer(schema, response=True) for name, schema in SENT.items()},
        **{name: converted.refer(schema, response=False) for name, schema in RECEIVED.items()},
        "acknowledgement": _acknowledgement(_update_codes(endpoints), receipt),
        "subscription": _acknowledgement(
            _by_status(messages["subscription"].pop("x-codes")), watched
        ),
        "connect_error": messages["connect_error"]["payload"],
    }
    for name, payload in payloads.items():
        example = {"payload": example_of(payload, schemas)}
        messages[name].update(name=name, payload=payload, examples=[example])
    error = payloads["connect_error"]["properties"]["data"]["properties"]["code"]
    channels["socket_io"]["x-refusals"] += error["enum"]
    query = channels["websocket"]["bindings"]["ws"]["query"]["properties"]
    query["token"]["examples"] = [reference.fields()["access_token"]["example"]]
    return document


def _update_codes(endpoints: Json) -> dict[int, list[str]]:
    """Return the error codes of an `update_score` by status: those of the HTTP endpoint."""
    endpoint = endpoints["paths"]["/api/score/update"]["post"]
    codes = {int(status): each.get("x-codes", []) for status, each in endpoint["responses"].items()}
    # Over HTTP, a stopping process accepts no connection instead.
    return {**codes, 500: [*codes[500], "stopping"]}


def _by_status(codes: list[str]) -> dict[int, list[str]]:
    """Return error codes by the status that the reference lists, after a status without any."""
    found: dict[int, list[str]] = {200: []}
    for code in codes:
        found.setdefault(reference.codes()[code]["status"], []).append(code)
    return found


def _acknowledgement(codes: dict[int, list[str]], body: Json) -> Json:
    """Return the schema of an acknowledgement: with this body, or an error of these codes."""
    responses = []
    for status, errors in codes.items():
        properties = {
            "status": {"enum": [status], "examples": [status]},
            "body": openapi.error_of(errors) if errors else body,
        }
        responses.append(openapi.object_schema(properties, "status", "body"))
    return {"anyOf": responses}
