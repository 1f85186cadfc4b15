"""Schemas of the top 10, of pages of the leaderboard, and of their queries."""

from marshmallow import fields, validate

from ..http.fields import IntegerInRange, Moment, QuerySchema, Schema, ScoreValue, UserId


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


class Top10Schema(Schema):
    """The top 10."""

    top_10_scores = fields.List(fields.Nested(EntrySchema), validate=validate.Length(max=10))


class RankedSchema(Schema):
    """One line of the leaderboard."""

    rank = fields.Integer()
    position = fields.Integer()
    user_id = fields.String()
    username = fields.String()
    score = ScoreValue()
    reached_at = Moment()


class PageSchema(Schema):
    """A page of the leaderboard."""

    entries = fields.List(fields.Nested(RankedSchema))
    total = fields.Integer()
    next = fields.String(allow_none=True)


class NeighboursSchema(Schema):
    """A user's entry and the entries around it."""

    entry = fields.Nested(RankedSchema)
    entries = fields.List(fields.Nested(RankedSchema))
    total = fields.Integer()


class PageQuerySchema(QuerySchema):
    """The query of `GET /api/leaderboard`."""

    limit = IntegerInRange(1, 100, load_default=50)
    cursor = fields.String(load_default=None)


class NeighboursQuerySchema(QuerySchema):
    """The query of `GET /api/leaderboard/users/<user_id>`, and the user in its path."""

    user_id = UserId(required=True)
    around = IntegerInRange(0, 50, load_default=5)


top10_schema = Top10Schema()
page_query_schema = PageQuerySchema()
neighbours_query_schema = NeighboursQuerySchema()
page_schema = PageSchema()
neighbours_schema = NeighboursSchema()
