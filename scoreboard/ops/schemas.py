"""Response schemas of the health and readiness endpoints."""

from marshmallow import Schema, fields, validate

ok = validate.OneOf(["ok"])
ok_or_failing = validate.OneOf(["ok", "failing"])


class HealthSchema(Schema):
    """The process is alive."""

    status = fields.String(validate=ok)


class ChecksSchema(Schema):
    """The state of each dependency."""

    database = fields.String(validate=ok_or_failing)
    redis = fields.String(validate=validate.OneOf(["ok", "failing", "not used"]))
    last_broadcast = fields.Float(allow_none=True)


class ReadinessSchema(Schema):
    """Whether requests can be served."""

    status = fields.String(validate=ok_or_failing)
    checks = fields.Nested(ChecksSchema)


health_schema = HealthSchema()
readiness_schema = ReadinessSchema()
