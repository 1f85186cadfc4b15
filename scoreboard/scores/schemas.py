"""What an update may look like, and how the board is told."""

import re

from marshmallow import Schema, fields, validate

from ..fields import LeanSchema, Moment, ScoreValue, UserId

MOST_IN_BATCH = 1000


class UpdateSchema(LeanSchema):
    """The body of `POST /api/score/update` and of the event `update_score`."""

    user_id = UserId(required=True)
    score_value = ScoreValue(required=True)
    timestamp = Moment(required=True)
    nonce = fields.String(
        validate=validate.Regexp(
            re.compile(r"[A-Za-z0-9_-]{8,64}\Z", re.ASCII),
            error="Must be 8 to 64 characters of A-Z a-z 0-9 _ -.",
        )
    )


class BatchSchema(Schema):
    """The body of `POST /api/score/batch`; its updates are not looked at here."""

    updates = fields.List(
        fields.Raw(allow_none=True),
        required=True,
        validate=validate.Length(1, MOST_IN_BATCH, error="Must be 1 to {max} updates."),
    )


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


class RankedSchema(Schema):
    """One line of the leaderboard."""

    rank = fields.Integer()
    position = fields.Integer()
    user_id = fields.String()
    username = fields.String()
    score = ScoreValue()
    reached_at = Moment()


class PastScoreSchema(Schema):
    """One accepted update in a user's history."""

    score_id = fields.Integer()
    score_value = ScoreValue()
    timestamp = Moment(attribute="achieved_at")
    created_at = Moment()
    score = ScoreValue()
    applied = fields.Boolean()
    voided_at = Moment()


def _whole(least: int, most: int, default: int) -> fields.Integer:
    problem = f"Must be a whole number from {least} to {most}."
    return fields.Integer(
        load_default=default,
        validate=validate.Range(least, most, error=problem),
        error_messages={"invalid": problem},
    )


class PageQuerySchema(Schema):
    """The query of `GET /api/leaderboard`."""

    limit = _whole(1, 100, default=50)
    cursor = fields.String(load_default=None)


class HistoryQuerySchema(PageQuerySchema):
    """The query of `GET /api/users/<user_id>/scores`, and the user in its path."""

    user_id = UserId(required=True)


class NeighboursQuerySchema(Schema):
    """The query of `GET /api/leaderboard/users/<user_id>`, and the user in its path."""

    user_id = UserId(required=True)
    around = _whole(0, 50, default=5)


update_schema = UpdateSchema()
batch_schema = BatchSchema()
entries_schema = EntrySchema(many=True)
ranked_schema = RankedSchema()
ranks_schema = RankedSchema(many=True)
past_scores_schema = PastScoreSchema(many=True)
page_query_schema = PageQuerySchema()
history_query_schema = HistoryQuerySchema()
neighbours_query_schema = NeighboursQuerySchema()
