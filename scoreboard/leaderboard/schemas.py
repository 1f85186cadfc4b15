"""Schemas of the top 10, of pages of the leaderboard, and of their queries."""

from typing import Any

from marshmallow import ValidationError, fields, validate

from ..auth.names import MAX_NAME_LENGTH
from ..auth.schemas import LINE
from ..boards.schemas import LiveQuerySchema
from ..http.fields import IntegerInRange, Moment, Schema, ScoreValue, UserId

MAX_USERS = 100


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


class BoardTop10Schema(Schema):
    """The top 10 of a season of a board."""

    board = fields.String()
    season = fields.Integer()
    top_10_scores = fields.List(fields.Nested(RankedSchema), validate=validate.Length(max=10))


class BoardPageSchema(PageSchema):
    """A page of a season of a board."""

    board = fields.String()
    season = fields.Integer()


class BoardNeighboursSchema(NeighboursSchema):
    """A user's entry in a season of a board, and the entries around it."""

    board = fields.String()
    season = fields.Integer()


class PageQuerySchema(LiveQuerySchema):
    """The query of `GET /api/leaderboard`."""

    limit = IntegerInRange(1, 100, load_default=50)
    cursor = fields.String(load_default=None)


class NeighboursQuerySchema(LiveQuerySchema):
    """The query of `GET /api/leaderboard/users/<user_id>`, and the user in its path."""

    user_id = UserId(required=True)
    around = IntegerInRange(0, 50, load_default=5)


class SeasonQuerySchema(LiveQuerySchema):
    """The query of `GET /api/boards/<board>/top10`: a season, the current one if left out."""

    season = IntegerInRange(1, 2**31 - 1, load_default=None)


class UserIds(fields.Field[list[str]]):
    """1 to 100 user ids, separated by commas."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[str]:
        texts = str(value).split(",")
        if len(texts) > MAX_USERS:
            raise ValidationError(f"Must be 1 to {MAX_USERS} user ids, separated by commas.")
        return [UserId().deserialize(text) for text in texts]


class BoardPageQuerySchema(PageQuerySchema, SeasonQuerySchema):
    """The query of `GET /api/boards/<board>/leaderboard`."""

    users = UserIds(
        load_default=None,
        metadata={"type": "string", "description": "Only these users, ranked among themselves."},
    )
    query = fields.String(
        load_default="",
        validate=[validate.Length(max=MAX_NAME_LENGTH), *LINE],
        metadata={"description": "Only the first 20 users with this text in their name."},
    )


class BoardNeighboursQuerySchema(NeighboursQuerySchema, SeasonQuerySchema):
    """The query of `GET /api/boards/<board>/leaderboard/users/<user_id>`."""


top10_schema = Top10Schema()
board_top10_schema = BoardTop10Schema()
board_page_schema = BoardPageSchema()
board_neighbours_schema = BoardNeighboursSchema()
season_query_schema = SeasonQuerySchema()
board_page_query_schema = BoardPageQuerySchema()
board_neighbours_query_schema = BoardNeighboursQuerySchema()
page_query_schema = PageQuerySchema()
neighbours_query_schema = NeighboursQuerySchema()
page_schema = PageSchema()
neighbours_schema = NeighboursSchema()
