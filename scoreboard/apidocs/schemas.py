"""Convert marshmallow schemas to JSON Schema with apispec."""

from typing import Any, ClassVar

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin, OpenAPIConverter
from apispec.ext.marshmallow.common import resolve_schema_instance
from marshmallow import Schema, fields

from ..http.fields import UUID, Moment, ScoreValue, UserId
from ..models import MAX_SCORE, MAX_TOTAL
from . import reference

Json = dict[str, Any]
Field = fields.Field[Any]


class Converter(OpenAPIConverter):
    """Converts this project's fields, with different rules for requests and responses.

    While `response` is set, every field is required unless its metadata has `optional`, may be
    null if marshmallow allows None, and a score has the range of a total.
    """

    field_mapping: ClassVar[dict[type, tuple[str | None, str | None]]] = {
        **OpenAPIConverter.field_mapping,
        UserId: ("string", "uuid"),
        ScoreValue: ("number", None),
        Moment: ("string", "date-time"),
    }
    response = False

    def init_attribute_functions(self) -> None:
        """Add the description and example of a field.

        Leave out the keys and values of a dict, which are not in the contract, and `readOnly`, as
        no schema both loads and dumps.
        """
        super().init_attribute_functions()
        self.attribute_functions.remove(self.dict2properties)
        self.attribute_functions.remove(self.field2read_only)
        self.attribute_functions.append(self.field2description)

    def schema2jsonschema(self, schema: Any) -> Json:
        """Add the schema's docstring and example, and the required fields of a response."""
        instance = resolve_schema_instance(schema)
        result: Json = super().schema2jsonschema(instance)
        if self.response:
            found = instance.fields.items()
            result["required"] = [n for n, each in found if not each.metadata.get("optional")]
        if example := getattr(instance.Meta, "example", None):
            result["examples"] = [example]
        return {**result, "description": (type(instance).__doc__ or "").strip()}

    def field2description(self, field: Field, ret: Json) -> Json:
        """Return the description and the example of a field, from its metadata or the reference.

        Raises KeyError for a field without a description.
        """
        if isinstance(field.parent, fields.List):  # list items: described by the list
            return {}
        if isinstance(field, ScoreValue):
            limit = MAX_TOTAL if self.response else MAX_SCORE
            ret.update(minimum=-limit, maximum=limit)
        if isinstance(items := ret.get("items"), type):
            ret["items"] = self.resolve_nested_schema(items)
        names = (field.name or "", f"{type(field.parent).__name__}.{field.name}")
        general, special = (reference.fields().get(name, {}) for name in names)
        known = {**general, **special, **ret}
        ret.pop("example", None)
        examples = {"examples": [known["example"]]} if "example" in known else {}
        return {"description": known["description"], **examples}

    def field2choices(self, field: Field, **kwargs: Any) -> Json:
        """Return the choices as `enum`, or as `const` if there is only one."""
        found = super().field2choices(field, **kwargs)
        choices = found.get("enum", [])
        return {"const": choices[0]} if len(choices) == 1 else found

    def field2default(self, field: Field, **kwargs: Any) -> Json:
        """Return the default unless it is None, which means no default."""
        return {} if field.load_default is None else super().field2default(field, **kwargs)

    def field2nullable(self, field: Field, ret: Json) -> Json:
        """Return whether the field may be null. Only response fields may."""
        return super().field2nullable(field, ret) if self.response else {}

    def field2pattern(self, field: Field, **kwargs: Any) -> Json:
        r"""Return the pattern in JSON Schema syntax: with anchors, without Python's `\Z`."""
        found = super().field2pattern(field, **kwargs)
        if isinstance(field, UserId):
            found = {"pattern": UUID.pattern}
        return {name: "^" + pattern.removesuffix(r"\Z") + "$" for name, pattern in found.items()}


class Document(APISpec):
    """An apispec document whose schemas are made from marshmallow schemas."""

    def __init__(self, title: str, version: str, **options: Any) -> None:
        self._plugin = MarshmallowPlugin()
        self._plugin.Converter = Converter
        super().__init__(title, version, "3.1.0", plugins=[self._plugin], **options)

    def refer(self, schema: Schema, response: bool) -> Json:
        """Add a schema to the components and return a reference to it."""
        self._plugin.converter.response = response
        return self._plugin.converter.resolve_nested_schema(schema)

    def parameters(self, schema: Schema, path: str) -> list[Json]:
        """Return the schema's fields as path parameters if `path` names them, else as query."""
        self._plugin.converter.response = False
        found = self._plugin.converter.schema2parameters(schema, location="query")
        return [{**each, "in": "path"} if f"{{{each['name']}}}" in path else each for each in found]


def example_of(schema: Json, schemas: dict[str, Json]) -> Any:
    """Return an example value of a JSON Schema; objects have only required properties."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if "array" in schema.get("type", ()):
        return [example_of(schema["items"], schemas)]
    required, properties = schema.get("required", ()), schema.get("properties", {}).items()
    return {name: example_of(each, schemas) for name, each in properties if name in required}
