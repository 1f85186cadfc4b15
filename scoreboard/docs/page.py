"""What the page /docs shows: the two documents, turned into what a template can walk through."""

import json
from http import HTTPStatus
from typing import Any

from flask import Flask

from ..permissions import ROLES
from . import asyncapi, openapi
from .codes import CODES
from .json_schema import Json

PERMISSIONS = {
    "board:watch": "watches the board",
    "score:own": "updates their own score",
    "score:any": "updates anyone's score",
    "users:manage": "moderates: hides users, voids scores, sets roles",
}


def content(app: Flask) -> Json:
    """Return the values of the template."""
    document, live = openapi.of(app), asyncapi.document()
    return {
        "access": app.config["JWT_ACCESS_TOKEN_EXPIRES"].total_seconds() / 60,
        "refresh": app.config["JWT_REFRESH_TOKEN_EXPIRES"].days,
        "version": document["info"]["version"],
        "introduction": prose(document["info"]["description"]),
        "sections": [
            {"name": tag["name"], "id": _id(tag["name"]), "operations": _operations(document, tag)}
            for tag in document["tags"]
        ],
        "channels": [_channel(name, told, live) for name, told in live["channels"].items()],
        "messages": [_message(told, live) for told in live["components"]["messages"].values()],
        "roles": {role: [PERMISSIONS[each] for each in sorted(may)] for role, may in ROLES.items()},
        "codes": {
            code: (told, prose(told.meaning), prose(told.remedy)) for code, told in CODES.items()
        },
    }


def prose(text: str) -> list[list[str]]:
    """Return the paragraphs of a text, each cut at its backticks: every second part is code."""
    return [" ".join(part.split()).split("`") for part in text.split("\n\n")]


def rules(told: Json) -> str:
    """Return in a line what may be in a field."""
    kinds = told.get("type", "")
    parts = [" or ".join(kinds) if isinstance(kinds, list) else kinds]
    if told.get("format"):
        parts.append(told["format"])
    if "enum" in told or "const" in told:
        parts.append("one of " + ", ".join(map(str, told.get("enum", [told.get("const")]))))
    for least, most, unit in _BOUNDS:
        if least in told or most in told:
            parts.append(_bounds(told.get(least), told.get(most), unit))
    if "pattern" in told and told.get("format") is None:
        parts.append(f"matches {told['pattern']}")
    return ", ".join(part for part in parts if part)


_BOUNDS = (
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " entries"),
    ("minimum", "maximum", ""),
)


def _bounds(least: float | None, most: float | None, unit: str) -> str:
    if least is None:
        return f"at most {most}{unit}"
    if most is not None and least == -most:
        return f"±{most}{unit}"
    return f"at least {least}{unit}" if most is None else f"{least} to {most}{unit}"


def _operations(document: Json, tag: Json) -> list[Json]:
    return [
        _operation(method, path, told, document)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if tag["name"] in told["tags"]
    ]


def _operation(method: str, path: str, told: Json, document: Json) -> Json:
    body = told.get("requestBody", {}).get("content", {}).get("application/json")
    good = {status: each for status, each in told["responses"].items() if "x-codes" not in each}
    return {
        "id": told["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": told["summary"],
        "description": prose(told.get("description", "")),
        "token": " or ".join(_token(each) for each in told["security"]) or "none",
        "roles": told["x-roles"] if {"access": []} in told["security"] else [],
        "parameters": [
            {
                **_field(each["name"], {**each["schema"], **each}, each.get("required")),
                "in": each["in"],
            }
            for each in told.get("parameters", ())
        ],
        "body": body and _fields(body["schema"], document),
        "request": body and _pretty(body["example"]),
        "answers": [_answer(status, each, document) for status, each in good.items()],
        "refusals": _refusals(told["responses"]),
    }


def _token(needed: Json) -> str:
    words = {"access": "an access token", "refresh": "a refresh token", "metrics": "METRICS_TOKEN"}
    return words[next(iter(needed))] if needed else "none"


def _answer(status: str, told: Json, document: Json) -> Json:
    media = told.get("content", {}).get("application/json", {})
    return {
        "status": f"{status} {HTTPStatus(int(status)).phrase}",
        "kind": ", ".join(told.get("content", {})) or "no body",
        "fields": _fields(media.get("schema", {}), document),
        "example": _pretty(media["example"]) if "example" in media else "",
    }


def _refusals(responses: Json) -> dict[str, list[str]]:
    return {status: each["x-codes"] for status, each in responses.items() if "x-codes" in each}


def _fields(schema: Json, document: Json, within: str = "") -> list[Json]:
    """Return a row for each field of a schema, those of what it nests after it."""
    schema = _resolved(schema, document)
    rows: list[Json] = []
    for name, told in schema.get("properties", {}).items():
        inner = _resolved(told, document)
        rows.append(_field(within + name, {**inner, **told}, name in schema.get("required", ())))
        if told.get("type") == "array":
            inner = _resolved(told["items"], document)
        deeper = f"{within}{name}{'[]' if told.get('type') == 'array' else ''}."
        rows += _fields(inner, document, deeper)
    return rows


def _field(name: str, told: Json, required: bool | None) -> Json:
    return {
        "name": name,
        "rules": rules(told),
        "required": bool(required),
        "description": prose(told.get("description", "")),
    }


def _resolved(schema: Json, document: Json) -> Json:
    if "$ref" not in schema:
        return schema
    found: Json = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _channel(name: str, told: Json, live: Json) -> Json:
    closes = {code: prose(said) for code, said in told.get("x-close-codes", {}).items()}
    return {
        "id": f"live-{name.replace('_', '-')}",
        "title": told["title"],
        "address": told["address"],
        "description": prose(told["description"]),
        "messages": list(told["messages"]),
        "refusals": told["x-refusals"],
        "closes": closes,
    }


def _message(told: Json, live: Json) -> Json:
    return {
        "name": told["name"],
        "summary": prose(told["summary"]),
        "fields": _fields(told["payload"], live),
        "example": _pretty(told["examples"][0]["payload"]),
    }


def _pretty(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")
