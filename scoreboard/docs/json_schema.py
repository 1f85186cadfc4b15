"""JSON Schema, made of the Marshmallow schemas that load and dump."""

from typing import Any

from marshmallow import Schema, fields, missing, validate

from ..fields import UUID, Moment, ScoreValue, UserId
from ..models import MAX_SCORE, MAX_TOTAL
from .glossary import NAMES

Json = dict[str, Any]

# The first that a field is an instance of counts.
_KINDS: list[tuple[type[fields.Field[Any]], Json]] = [
    (UserId, {"type": "string", "format": "uuid", "pattern": f"^{UUID.pattern}$"}),
    (ScoreValue, {"type": "number", "minimum": -MAX_SCORE, "maximum": MAX_SCORE}),
    (Moment, {"type": "string", "format": "date-time"}),
    (fields.Email, {"type": "string", "format": "email"}),
    (fields.String, {"type": "string"}),
    (fields.Boolean, {"type": "boolean"}),
    (fields.Integer, {"type": "integer"}),
    (fields.Float, {"type": "number"}),
    (fields.List, {"type": "array"}),
    (fields.Dict, {"type": "object"}),
    (fields.Raw, {}),
    (fields.Function, {}),
]


class Components:
    """The schemas by name, each described once, wherever it is referred to from."""

    def __init__(self) -> None:
        self.schemas: dict[str, Json] = {}

    def refer(self, schema: Schema, answer: bool) -> Json:
        """Return a reference to this schema; `answer` tells what is sent from what is taken."""
        name = type(schema).__name__.removesuffix("Schema")
        if name not in self.schemas:
            self.schemas[name] = {}  # it may refer to itself
            self.schemas[name] = self._object(schema, answer)
        reference = {"$ref": f"#/components/schemas/{name}"}
        return {"type": "array", "items": reference} if schema.many else reference

    def parameters(self, schema: Schema, path: str) -> list[Json]:
        """Return the parameters that this schema loads, from the path where it names them."""
        return [
            {
                "name": name,
                "in": "path" if f"{{{name}}}" in path else "query",
                "required": field.required,
                **_as_parameter(self.field(name, field, answer=False)),
            }
            for name, field in schema.load_fields.items()
        ]

    def field(self, name: str, field: fields.Field[Any], answer: bool) -> Json:
        """Return what may be in this field, in a form and in words, with an example.

        Raises LookupError for a name without words, TypeError for a rule without any.
        """
        description, example = NAMES.get(name, ("", None))
        extra = dict(field.metadata)
        extra.pop("optional", None)
        example = extra.pop("example", example)
        told = {**self._kind(field, answer), **_rules(field), "description": description, **extra}
        if not told["description"]:
            raise LookupError(f"{name}: say in docs/glossary.py what it means")
        if isinstance(each := told.get("items"), type):
            told["items"] = self.refer(each(), answer)
        if answer and field.allow_none:
            told = _or_null(told)
        if field.load_default not in (missing, None):
            told["default"] = field.load_default
        return {**told, **({"examples": [example]} if example is not None else {})}

    def _object(self, schema: Schema, answer: bool) -> Json:
        members = schema.dump_fields if answer else schema.load_fields
        return {
            "type": "object",
            "description": (type(schema).__doc__ or "").strip(),
            "properties": {name: self.field(name, each, answer) for name, each in members.items()},
            "required": [
                name
                for name, each in members.items()
                if (not each.metadata.get("optional") if answer else each.required)
            ],
            "additionalProperties": False,
        }

    def _kind(self, field: fields.Field[Any], answer: bool) -> Json:
        if isinstance(field, fields.Nested):
            told = self.refer(field.schema, answer)
            return {"type": "array", "items": told} if field.many else told
        told = next(dict(told) for kind, told in _KINDS if isinstance(field, kind))
        if answer and isinstance(field, ScoreValue):
            told.update(minimum=-MAX_TOTAL, maximum=MAX_TOTAL)
        if isinstance(field, fields.List):
            told["items"] = self._kind(field.inner, answer)
        return told


def example_of(told: Json, schemas: dict[str, Json]) -> Any:
    """Return an example of what a schema describes."""
    if "$ref" in told:
        return example_of(schemas[told["$ref"].rpartition("/")[2]], schemas)
    if told.get("examples"):
        return told["examples"][0]
    if "const" in told or "enum" in told:
        return told.get("const", (told.get("enum") or [None])[0])
    if "anyOf" in told:
        return example_of(told["anyOf"][0], schemas)
    if "array" in told.get("type", ()):
        return [example_of(told["items"], schemas)]
    properties = told.get("properties", {})
    required: list[str] = told.get("required", [])
    return {
        name: example_of(each, schemas) for name, each in properties.items() if name in required
    }


def _rules(field: fields.Field[Any]) -> Json:
    """Return what the validators of a field ask for."""
    told: Json = {}
    for rule in field.validators:
        if isinstance(rule, validate.Length):
            kind = "Items" if isinstance(field, fields.List) else "Length"
            told |= _given({f"min{kind}": rule.min, f"max{kind}": rule.max})
        elif isinstance(rule, validate.Range):
            told |= _given({"minimum": rule.min, "maximum": rule.max})
        elif isinstance(rule, validate.OneOf):
            choices = list(rule.choices)
            told.update({"enum": choices} if len(choices) > 1 else {"const": choices[0]})
        elif isinstance(rule, validate.Regexp):
            told["pattern"] = _pattern(str(rule.regex.pattern))
        elif not isinstance(rule, validate.Email) and not field.metadata.get("description"):
            raise TypeError(f"{field.name}: say in its metadata what {rule} asks for")
    return told


def _given(told: Json) -> Json:
    return {name: value for name, value in told.items() if value is not None}


def _pattern(python: str) -> str:
    """Return the pattern as JSON Schema writes it: unanchored, and without Python's own end."""
    return "^" + python.removesuffix(r"\Z") + "$"


def _or_null(told: Json) -> Json:
    if "type" in told:
        return {**told, "type": [told["type"], "null"]}
    return {"anyOf": [told, {"type": "null"}], "description": told["description"]}


def _as_parameter(told: Json) -> Json:
    schema = {name: value for name, value in told.items() if name != "description"}
    return {"description": told["description"], "schema": schema}
