"""Response schemas of the health and readiness endpoints."""

from marshmallow import Schema, fields, validate

WORKS = {"description": "`ok` or `failing`."}


class HealthSchema(Schema):
    """The process is alive."""

    status = fields.String(
        validate=validate.OneOf(["ok"]), metadata={"description": "Always this."}
    )


class ChecksSchema(Schema):
    """The state of each dependency."""

    database = fields.String(validate=validate.OneOf(["ok", "failing"]))
    redis = fields.String(validate=validate.OneOf(["ok", "failing", "not used"]))
    last_broadcast = fields.Float(allow_none=True)


class ReadinessSchema(Schema):
    """Whether requests can be served."""

    status = fields.String(validate=validate.OneOf(["ok", "failing"]), metadata=WORKS)
    checks = fields.Nested(ChecksSchema)


health_schema = HealthSchema()
readiness_schema = ReadinessSchema()
