"""Build the OpenAPI document from the routes and their `Documented` metadata."""

import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Flask
from marshmallow import Schema

from ..http.documented import Documented
from ..permissions import ROLES
from . import reference
from .schemas import Document, Json, example_of

VERSION = "0.1.0"
# Error codes of any request with an access or refresh token.
TOKEN_CODES = ("token_missing", "token_invalid", "token_expired", "token_type", "token_revoked")
# Endpoints whose statuses the specification fixes, without 503.
UPDATES = ("/api/score/update", "/api/score/batch")


def document(app: Flask) -> Json:
    """Return the OpenAPI 3.1 document of this application. Takes tens of milliseconds."""
    tags = reference.texts()["tags"]
    info = {"description": reference.texts()["introduction"]}
    listed = [{"name": tag} for tag in tags.values()]
    document = Document("Scoreboard", VERSION, info=info, servers=[{"url": "/"}], tags=listed)
    document.components.schema("Error", error_schema())
    for name, description in reference.texts()["schemes"].items():
        scheme = {"type": "http", "scheme": "bearer", "description": description}
        document.components.security_scheme(name, scheme)
    for endpoint, path, method, view, declared in _routes(app):
        tag = tags[endpoint.partition(".")[0]]
        names = {"operationId": endpoint.replace(".", "_"), "tags": [tag]}
        operation = _operation(path, view, declared, document)
        document.path(path, operations={method: {**names, **operation}})
    return document.to_dict()


def error_schema() -> Json:
    """Return the schema of every error."""
    code = {"type": "string", "enum": list(reference.codes())}
    error = {"code": code, **reference.texts()["error"]}
    return object_schema({"error": object_schema(error, "code", "message")}, "error")


def object_schema(properties: Json, *required: str) -> Json:
    """Return the schema of an object with exactly these properties."""
    content = {"properties": properties, "required": list(required)}
    return {"type": "object", **content, "additionalProperties": False}


def error_of(codes: list[str]) -> Json:
    """Return the schema of an error with one of these codes."""
    error = {"type": "object", "properties": {"code": {"enum": codes}}}
    refined = {"type": "object", "properties": {"error": error}}
    return {"allOf": [{"$ref": "#/components/schemas/Error"}, refined]}


def codes_of(declared: Documented) -> list[str]:
    """Return every error code that a route may respond with, in the order of the reference."""
    codes = {*declared.errors, "server_error"}
    if declared.needs not in (None, "metrics"):
        codes.update((*TOKEN_CODES, "account_suspended", "account_unknown"))
    if declared.may:
        codes.add("not_permitted")
    if declared.body:
        codes.add("invalid_json")
    if declared.body or declared.query or declared.path:
        codes.add("invalid_input")
    if declared.needs or "invalid_input" in codes:
        codes.add("overloaded")  # these read the database
    return [code for code in reference.codes() if code in codes]


def _routes(app: Flask) -> Iterator[tuple[str, str, str, Any, Documented]]:
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if declared := getattr(view, "documented", None):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule.endpoint, path, method.lower(), view, declared


def _operation(path: str, view: Any, declared: Documented, document: Document) -> Json:
    summary, _, description = (inspect.getdoc(view) or "").partition("\n")
    kinds = declared.needs.split(" or ") if declared.needs else []
    schemes: list[Json] = [{kind: []} for kind in kinds]
    permissions = {*declared.may}
    security = [{}, *schemes] if declared.optional else schemes
    roles = [role for role, may in ROLES.items() if not permissions or may & permissions]
    operation: Json = {"summary": summary, "security": security, "x-roles": roles}
    if description.strip():
        operation["description"] = description.strip()
    parameters = [reference.texts()["if_none_match"]] if declared.conditional else []
    for schema in filter(None, (declared.path, declared.query)):
        parameters += document.parameters(schema, path)
    if parameters:
        operation["parameters"] = parameters
    if declared.body:
        content = _json(declared.body, document, response=False)
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = {**_responses(declared, document), **_errors(path, declared)}
    return operation


def _responses(declared: Documented, document: Document) -> Json:
    responses: Json = {}
    for status, schema in declared.responses.items():
        response: Json = {"description": HTTPStatus(status).phrase}
        if isinstance(schema, Schema):
            response["content"] = _json(schema, document, response=True)
        elif schema:
            kind = "object" if schema == "application/json" else "string"
            response["content"] = {schema: {"schema": {"type": kind}}}
        responses[str(status)] = response
    if declared.conditional:
        responses["304"] = {"description": "Unchanged since the response with this ETag."}
        for response in responses.values():
            response["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return responses


def _json(schema: Schema, document: Document, response: bool) -> Json:
    refers = document.refer(schema, response)
    example = example_of(refers, document.components.schemas)
    return {"application/json": {"schema": refers, "example": example}}


def _errors(path: str, declared: Documented) -> Json:
    """Return the error responses by status, each with its codes."""
    by_status: dict[int, list[str]] = {}
    for code in codes_of(declared):
        status = reference.codes()[code]["status"]
        if code == "unknown_user" and "{user_id}" in path:
            status = 404
        if code == "unknown_board" and path.startswith("/api/score/"):
            status = 400
        if code == "overloaded" and path in UPDATES:
            status = 500
        by_status.setdefault(status, []).append(code)
    return {str(status): _error(status, codes) for status, codes in by_status.items()}


def _error(status: int, codes: list[str]) -> Json:
    meanings = [f"- `{code}`: {reference.codes()[code]['meaning']}" for code in codes]
    description = "\n".join([HTTPStatus(status).phrase, "", *meanings])
    content = {"application/json": {"schema": error_of(codes)}}
    error: Json = {"description": description, "content": content, "x-codes": codes}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        error["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    if status == HTTPStatus.UNAUTHORIZED:
        error["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return error
