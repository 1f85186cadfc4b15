"""Build the AsyncAPI document from asyncapi.toml and the schemas of the messages."""

from ..realtime.schemas import ScoreUpdateSchema, Top10UpdateSchema
from ..scores.schemas import receipt_schema, update_schema
from . import openapi, reference
from .schemas import Document, Json, example_of


def document(endpoints: Json) -> Json:
    """Return the AsyncAPI 3.0 document; `endpoints` is the OpenAPI document."""
    document, converted = reference.load("asyncapi"), Document("", openapi.VERSION)
    document["info"]["version"] = openapi.VERSION
    channels, messages = document["channels"], document["components"]["messages"]
    schemas = document["components"]["schemas"] = converted.components.schemas
    schemas["Error"] = openapi.error_schema()
    receipt = converted.refer(receipt_schema, response=True)
    payloads = {
        "score_update": converted.refer(ScoreUpdateSchema(), response=True),
        "top_10_update": converted.refer(Top10UpdateSchema(), response=True),
        "update_score": converted.refer(update_schema, response=False),
        "acknowledgement": _acknowledgement(endpoints, receipt),
        "connect_error": messages["connect_error"]["payload"],
    }
    for name, payload in payloads.items():
        example = {"payload": example_of(payload, schemas)}
        messages[name].update(name=name, payload=payload, examples=[example])
    error = payloads["connect_error"]["properties"]["data"]["properties"]["code"]
    channels["socket_io"]["x-refusals"] += error["enum"]
    token = channels["websocket"]["bindings"]["ws"]["query"]["properties"]["token"]
    token["examples"] = [reference.fields()["access_token"]["example"]]
    return document


def _acknowledgement(endpoints: Json, receipt: Json) -> Json:
    """Return the schema of an `update_score` acknowledgement: a response of the HTTP endpoint."""
    endpoint = endpoints["paths"]["/api/score/update"]["post"]
    responses = []
    for text, response in endpoint["responses"].items():
        status, codes = int(text), list(response.get("x-codes", []))
        if status == 500:
            codes.append("stopping")  # over HTTP, a stopping process accepts no connection instead
        body = openapi.error_of(codes) if codes else receipt
        properties = {"status": {"enum": [status], "examples": [status]}, "body": body}
        responses.append(openapi.object_schema(properties, "status", "body"))
    return {"anyOf": responses}
