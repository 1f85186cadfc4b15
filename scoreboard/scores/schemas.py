"""Schemas of the requests and responses of scores and of the leaderboard."""

import re

from marshmallow import ValidationError, fields, validate

from ..http.fields import LeanSchema, Moment, QuerySchema, Schema, ScoreValue, UserId, Whole

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


def check_updates(updates: object) -> None:
    """Raise ValidationError unless `updates` is a list of 1 to MOST_IN_BATCH items."""
    if not isinstance(updates, list):
        raise ValidationError("Must be a list of updates.")
    if not 1 <= len(updates) <= MOST_IN_BATCH:
        raise ValidationError(f"Must be 1 to {MOST_IN_BATCH} updates.")


class BatchSchema(Schema):
    """The body of `POST /api/score/batch`; does not validate the updates themselves."""

    # Not fields.List: it deserializes every item before the length is checked.
    updates = fields.Raw(
        required=True,
        validate=check_updates,
        metadata={
            "description": f"1 to {MOST_IN_BATCH} updates, each judged on its own.",
            "type": "array",
            "items": UpdateSchema,
            "minItems": 1,
            "maxItems": MOST_IN_BATCH,
        },
    )


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


class Top10Schema(Schema):
    """The top 10."""

    top_10_scores = fields.List(fields.Nested(EntrySchema), validate=validate.Length(max=10))


class ReceiptSchema(Schema):
    """The result of an accepted update."""

    user_id = fields.String()
    score = ScoreValue(metadata={"description": "The user's score after the update."})
    score_id = fields.Integer()
    created_at = Moment()
    applied = fields.Boolean()


class ResultSchema(Schema):
    """The result of one update of a batch."""

    status = fields.Integer(
        validate=validate.OneOf([200, 400, 401, 429, 500]),
        metadata={"description": "The status of that answer.", "example": 200},
    )
    body = fields.Dict(metadata={"description": "A receipt, or the error of this update."})
    retry_after = fields.Integer(metadata={"optional": True})


class ResultsSchema(Schema):
    """The results of a batch, one per update, in order."""

    results = fields.List(fields.Nested(ResultSchema))


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
    voided_at = Moment(
        allow_none=True, metadata={"description": "Since when it counts no more, if it does not."}
    )


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


class HistorySchema(Schema):
    """A page of a user's accepted updates, newest first."""

    scores = fields.List(fields.Nested(PastScoreSchema))
    next = fields.String(allow_none=True)


class PageQuerySchema(QuerySchema):
    """The query of `GET /api/leaderboard`."""

    limit = Whole(1, 100, load_default=50)
    cursor = fields.String(load_default=None)


class HistoryQuerySchema(PageQuerySchema):
    """The query of `GET /api/users/<user_id>/scores`, and the user in its path."""

    user_id = UserId(required=True)


class NeighboursQuerySchema(QuerySchema):
    """The query of `GET /api/leaderboard/users/<user_id>`, and the user in its path."""

    user_id = UserId(required=True)
    around = Whole(0, 50, load_default=5)


update_schema = UpdateSchema()
batch_schema = BatchSchema()
entries_schema = EntrySchema(many=True)
top10_schema = Top10Schema()
# Document bodies that are built by hand, hundreds at a time; tests check that they match.
receipt_schema = ReceiptSchema()
results_schema = ResultsSchema()
ranked_schema = RankedSchema()
ranks_schema = RankedSchema(many=True)
past_scores_schema = PastScoreSchema(many=True)
page_query_schema = PageQuerySchema()
history_query_schema = HistoryQuerySchema()
neighbours_query_schema = NeighboursQuerySchema()
page_schema = PageSchema()
neighbours_schema = NeighboursSchema()
history_schema = HistorySchema()
