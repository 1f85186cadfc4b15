"""Build the AsyncAPI document from asyncapi.toml and the schemas of the messages."""

from ..realtime.schemas import ScoreUpdateSchema, Top10UpdateSchema
from ..scores.schemas import receipt_schema, update_schema
from . import openapi, reference
from .schemas import Document, Json, example_of


def document(endpoints: Json) -> Json:
    """Return the AsyncAPI 3.0 document; `endpoints` is the OpenAPI document."""
    document, made = reference.load("asyncapi"), Document("", openapi.VERSION)
    channels, messages = document["channels"], document["components"]["messages"]
    schemas = document["components"]["schemas"] = made.components.schemas
    schemas["Error"] = openapi.error_schema()
    payloads = {
        "score_update": made.refer(ScoreUpdateSchema(), response=True),
        "top_10_update": made.refer(Top10UpdateSchema(), response=True),
        "update_score": made.refer(update_schema, response=False),
        "acknowledgement": _acknowledgement(endpoints, made.refer(receipt_schema, response=True)),
        "connect_error": messages["connect_error"]["payload"],
    }
    for name, payload in payloads.items():
        example = {"payload": example_of(payload, schemas)}
        messages[name].update(name=name, payload=payload, examples=[example])
    error = payloads["connect_error"]["properties"]["data"]["properties"]["code"]
    channels["socket_io"]["x-refusals"] += error["enum"]
    token = channels["websocket"]["bindings"]["ws"]["query"]["properties"]["token"]
    token["examples"] = [reference.fields()["access_token"]["example"]]
    document["info"]["version"] = openapi.VERSION
    return document


def _acknowledgement(endpoints: Json, receipt: Json) -> Json:
    """Return the schema of an `update_score` acknowledgement: a response of the HTTP endpoint."""
    responses = endpoints["paths"]["/api/score/update"]["post"]["responses"]
    codes = {int(status): list(each.get("x-codes", [])) for status, each in responses.items()}
    codes[500].append("stopping")  # over HTTP, a stopping process accepts no connection instead
    return {"anyOf": [_answer(status, codes[status], receipt) for status in codes]}


def _answer(status: int, codes: list[str], receipt: Json) -> Json:
    body = openapi.error_of(codes) if codes else receipt
    properties = {"status": {"enum": [status], "examples": [status]}, "body": body}
    return openapi.closed(properties, "status", "body")
