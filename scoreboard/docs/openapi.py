"""The OpenAPI document, made of the routes in use and what they say of themselves."""

import inspect
import re
import threading
from collections.abc import Iterator
from contextvars import copy_context
from http import HTTPStatus
from typing import Any

from flask import Flask
from marshmallow import Schema

from ..documented import Documented, documentation
from ..permissions import ROLES
from ..realtime.transport import off_loop
from .codes import CODES, TOKEN
from .json_schema import Components, Json, example_of

VERSION = "0.1.0"
TAGS = {
    "auth": "Signing in",
    "scores": "Scores",
    "leaderboard": "Leaderboard",
    "admin": "Moderation",
    "ops": "Health and metrics",
    "docs": "Documentation",
}
SCHEMES = {
    "access": "An access token: from signing in, from `POST /api/auth/viewer`, or your own.",
    "refresh": "A refresh token, from signing in or the last refresh.",
    "metrics": "The METRICS_TOKEN of the server, if it has one.",
}
INTRODUCTION = """Takes score updates from authorized users, ranks them, pushes every change.

Every error, also of an unknown path or method, is `{"error": {"code", "message", "fields"?}}`. \
Codes are stable, messages may improve. A request that fails changes nothing. Query parameters \
that an endpoint does not name are ignored; unknown fields of a body are refused."""

_making = threading.Lock()


def of(app: Flask) -> Json:
    """Return the OpenAPI 3.1 document of this application, made when it is first asked for.

    That takes a tenth of a second, so it is done off the loop, and by the first who asks alone.
    """
    with _making:
        if "openapi" not in app.extensions:
            app.extensions["openapi"] = off_loop(copy_context().run, _document, app)
    document: Json = app.extensions["openapi"]
    return document


def _document(app: Flask) -> Json:
    components = Components()
    components.schemas["Error"] = error_schema()
    paths: dict[str, Json] = {}
    tags: list[str] = []
    for endpoint, path, method, view, said in _operations(app):
        tag = TAGS.get(endpoint.partition(".")[0], endpoint.partition(".")[0])
        tags.append(tag)
        told = {"operationId": endpoint.replace(".", "_"), "tags": [tag]}
        paths.setdefault(path, {})[method] = told | _operation(path, view, said, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Scoreboard", "version": VERSION, "description": INTRODUCTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys([*TAGS.values(), *tags]) if name in tags],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "securitySchemes": {
                name: {"type": "http", "scheme": "bearer", "description": said}
                for name, said in SCHEMES.items()
            },
        },
    }


def error_schema() -> Json:
    """Return what every error looks like."""
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {
            "code": {**text, "enum": list(CODES)},
            "message": {**text, "description": "One sentence that a person can act on."},
            "fields": {
                "type": "object",
                "description": "What is wrong, by the name of the field.",
            },
            "receipt": {
                "type": "object",
                "description": "Of `replayed`: the answer that the first such request got.",
            },
        },
        "required": ["code", "message"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "description": "Every error, in the one shape.",
        "properties": {"error": error},
        "required": ["error"],
        "additionalProperties": False,
    }


# The specification fixes the statuses of these: there is no 503 among them.
UPDATES = ("/api/score/update", "/api/score/batch")


def error_of(codes: list[str]) -> Json:
    """Return the schema of an error with one of these codes."""
    within = {"type": "object", "properties": {"code": {"enum": codes}}}
    return {
        "allOf": [
            {"$ref": "#/components/schemas/Error"},
            {"type": "object", "properties": {"error": within}},
        ]
    }


def codes_of(said: Documented) -> list[str]:
    """Return every code that such a route may answer with, in the order of the table."""
    codes = {*said.errors, "server_error"}
    if said.needs or said.body or said.query or said.path:
        codes.add("overloaded")  # these read the database
    if said.needs and said.needs != "metrics":
        codes.update(TOKEN)
    if said.may:
        codes.add("not_permitted")
    if said.body:
        codes.update(("invalid_json", "invalid_input"))
    if said.query or said.path:
        codes.add("invalid_input")
    return [code for code in CODES if code in codes]


def roles_of(said: Documented) -> list[str]:
    """Return the roles that may ask, every one if none is named."""
    return [role for role, may in ROLES.items() if not said.may or may & {*said.may}]


def _operations(app: Flask) -> Iterator[tuple[str, str, str, Any, Documented]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        said = documentation(view)
        if said is None:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            yield rule.endpoint, path, method.lower(), view, said


def _operation(path: str, view: Any, said: Documented, components: Components) -> Json:
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    told: Json = {"summary": summary, "security": _security(said), "x-roles": roles_of(said)}
    if description.strip():
        told["description"] = description.strip()
    parameters = [
        *(components.parameters(said.path, path) if said.path else ()),
        *(components.parameters(said.query, path) if said.query else ()),
        *(_IF_NONE_MATCH if said.conditional else ()),
    ]
    if parameters:
        told["parameters"] = parameters
    if said.body:
        reference = components.refer(said.body, answer=False)
        told["requestBody"] = {"required": True, "content": _json(reference, components)}
    told["responses"] = {**_answers(said, components), **_refusals(path, said)}
    return told


def _security(said: Documented) -> list[Json]:
    needed: list[Json] = [{kind: []} for kind in said.needs.split(" or ")] if said.needs else []
    return [{}, *needed] if said.optional else needed


def _answers(said: Documented, components: Components) -> Json:
    told: Json = {}
    for status, schema in said.answers.items():
        answer: Json = {"description": HTTPStatus(status).phrase}
        if isinstance(schema, Schema):
            answer["content"] = _json(components.refer(schema, answer=True), components)
        elif schema == "application/json":
            answer["content"] = {schema: {"schema": {"type": "object"}}}
        elif schema:
            answer["content"] = {schema: {"schema": {"type": "string"}}}
        told[str(status)] = answer
    if said.conditional:
        told["304"] = {"description": "Unchanged since the answer with this ETag."}
        for answer in told.values():
            answer["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return told


def _refusals(path: str, said: Documented) -> Json:
    """Return the errors by status, with the codes that each comes with."""
    by_status: dict[int, list[str]] = {}
    for code in codes_of(said):
        # A user in the path that is not there is a 404, one in the body a 400.
        status = CODES[code].status
        if code == "unknown_user" and "{user_id}" in path:
            status = 404
        if code == "overloaded" and path in UPDATES:
            status = 500
        by_status.setdefault(status, []).append(code)
    return {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}


def _refusal(status: int, codes: list[str]) -> Json:
    told: Json = {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(codes)}",
        "content": {"application/json": {"schema": error_of(codes)}},
        "x-codes": codes,
    }
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        told["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if status == HTTPStatus.UNAUTHORIZED:
        told["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return told


def _json(reference: Json, components: Components) -> Json:
    example = example_of(reference, components.schemas)
    return {"application/json": {"schema": reference, "example": example}}


_IF_NONE_MATCH = [
    {
        "name": "If-None-Match",
        "in": "header",
        "description": "The ETag of the answer at hand: if it is still the present one, 304.",
        "schema": {"type": "string"},
    }
]
