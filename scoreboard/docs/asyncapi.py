"""The AsyncAPI document of the live messages, by either way to connect."""

import functools
from typing import Any

from ..realtime import connections, handlers, plain, websocket
from ..realtime.schemas import ScoreUpdateSchema, Top10UpdateSchema
from ..scores.schemas import receipt_schema, update_schema
from .codes import TOKEN
from .glossary import TOKEN as EXAMPLE_TOKEN
from .json_schema import Components, Json, example_of
from .openapi import VERSION, error_of, error_schema

# Every code that an update can be refused with: those of POST /api/score/update, and `stopping`.
REFUSALS_OF_UPDATE = {
    400: ["invalid_json", "invalid_input", "timestamp_in_future", "unknown_user", "replayed"],
    401: [*TOKEN, "not_permitted"],
    429: ["rate_limited"],
    500: ["overloaded", "stopping", "server_error"],
}
REFUSALS_OF_SOCKET_IO = [
    *TOKEN,
    "unknown_namespace",
    "too_many_connections",
    "overloaded",
    "server_error",
]
# What the HTTP requests of Socket.IO's transports can be refused with.
REFUSALS_OF_ENGINE_IO = [
    "unknown_transport",
    "unsupported_protocol",
    "transport_mismatch",
    "session_ended",
    "upgrade_required",
    "stopping",
]
REFUSALS_OF_WEBSOCKET = [
    *TOKEN,
    "origin_not_allowed",
    "upgrade_required",
    "too_many_connections",
    "overloaded",
    "stopping",
    "server_error",
]
CLOSE_CODES = {
    connections.UNAUTHORIZED: (
        "The token expired or was revoked: connect again with a new one. The reason says which."
    ),
    websocket.SLOW: "The client did not keep up: connect again, the present top 10 comes first.",
    connections.SERVICE_RESTART: "The server restarts: connect again in a moment.",
    websocket.TOO_BIG: "The client sent a message that is too big.",
    websocket.PROTOCOL_ERROR: "The client broke the protocol.",
    1011: "Something went wrong on the server: connect again.",
}
_PLAIN = f"""A WebSocket for any client, without a library. The token is in the query (`?token=`), \
in `Authorization: Bearer`, or the second subprotocol after `{plain.SUBPROTOCOL}`. Without a good \
one the handshake is answered with an HTTP error, before any upgrade. Frames are the messages as \
JSON text."""
_SOCKET_IO = f"""Socket.IO: `io(origin, {{path: "{handlers.PATH}", auth: {{token}}}})`. The event \
is named after the `type` of the message, its one argument is the whole message. Where the \
transport is a WebSocket, the close codes are those of the plain one."""


@functools.cache
def document() -> Json:
    """Return the AsyncAPI 3.0 document."""
    schemas = Components()
    schemas.schemas["Error"] = error_schema()
    messages = _messages(schemas)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Scoreboard, live",
            "version": VERSION,
            "description": "Every score update and every change of the top 10, as it happens.",
        },
        "servers": {
            "this": {
                "host": "{host}",
                "protocol": "wss",
                "description": "Where this document came from; `ws` without TLS.",
                "variables": {"host": {"default": "localhost:5000"}},
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": messages,
            "schemas": schemas.schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _channels() -> Json:
    token = {"type": "string", "description": "An access token.", "examples": [EXAMPLE_TOKEN]}
    query = {"type": "object", "properties": {"token": token}}
    told = ["score_update", "top_10_update"]
    return {
        "websocket": {
            "address": plain.PATH,
            "title": "WebSocket",
            "description": _PLAIN,
            "messages": _references("components", told),
            "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
            "x-close-codes": {str(code): said for code, said in CLOSE_CODES.items()},
            "x-refusals": REFUSALS_OF_WEBSOCKET,
        },
        "socket_io": {
            "address": f"{handlers.PATH}/",
            "title": "Socket.IO",
            "description": _SOCKET_IO,
            "messages": _references("components", [*told, *_SOCKET_IO_ONLY]),
            "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            "x-refusals": [*REFUSALS_OF_SOCKET_IO, *REFUSALS_OF_ENGINE_IO],
        },
    }


_SOCKET_IO_ONLY = ("update_score", "acknowledgement", "connect_error")


def _references(where: str, names: Any) -> Json:
    return {name: {"$ref": f"#/{where}/messages/{name}"} for name in names}


def _operations() -> Json:
    def operation(action: str, channel: str, summary: str, *names: str) -> Json:
        within = _references(f"channels/{channel}", names)
        return {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "summary": summary,
            "security": [{"$ref": "#/components/securitySchemes/token"}],
            "messages": list(within.values()),
        }

    told = ("score_update", "top_10_update")
    answer = _references("channels/socket_io", ["acknowledgement"])
    return {
        "watch": operation("send", "websocket", "Watch by a plain WebSocket.", *told),
        "watch_socket_io": operation("send", "socket_io", "Watch by Socket.IO.", *told),
        "refuse": operation("send", "socket_io", "Refuse to connect.", "connect_error"),
        "submit": {
            **operation("receive", "socket_io", "Submit an update.", "update_score"),
            "reply": {
                "channel": {"$ref": "#/channels/socket_io"},
                "messages": list(answer.values()),
            },
        },
    }


def _messages(components: Components) -> Json:
    payloads = {
        "score_update": components.refer(ScoreUpdateSchema(), answer=True),
        "top_10_update": components.refer(Top10UpdateSchema(), answer=True),
        "update_score": components.refer(update_schema, answer=False),
        "acknowledgement": _acknowledgement(components),
        "connect_error": _connect_error(),
    }
    return {
        name: {
            "name": name,
            "summary": _SUMMARIES[name],
            "payload": payload,
            "examples": [{"payload": example_of(payload, components.schemas)}],
        }
        for name, payload in payloads.items()
    }


_SUMMARIES = {
    "score_update": "Sent for every accepted update, in the order of the updates.",
    "top_10_update": "The present top 10 on connecting; then whenever, and only if, it changed.",
    "update_score": "Does exactly what `POST /api/score/update` does, for the connection's token.",
    "acknowledgement": "Answers `update_score`: the status and the body of the endpoint.",
    "connect_error": "Why the connection was refused; `data.code` is the error code.",
}


def _acknowledgement(components: Components) -> Json:
    def answered(statuses: list[int], body: Json) -> Json:
        status = {"enum": statuses, "examples": statuses[:1]}
        return {
            "type": "object",
            "properties": {"status": status, "body": body},
            "required": ["status", "body"],
            "additionalProperties": False,
        }

    refused = [answered([status], error_of(codes)) for status, codes in REFUSALS_OF_UPDATE.items()]
    return {"anyOf": [answered([200], components.refer(receipt_schema, answer=True)), *refused]}


def _connect_error() -> Json:
    message = {"type": "string", "examples": ["The token has expired: get a new one."]}
    code = {"enum": REFUSALS_OF_SOCKET_IO, "examples": ["token_expired"]}
    data = {
        "type": "object",
        "properties": {"code": code, "message": message},
        "required": ["code", "message"],
    }
    return {
        "type": "object",
        "properties": {"message": message, "data": data},
        "required": ["message", "data"],
    }
