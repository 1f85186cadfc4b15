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
        metadata={"items": UpdateSchema},
    )


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


class Top10Schema(Schema):
    """The top 10."""

    top_10_scores = fields.List(fields.Nested(EntrySchema), validate=validate.Length(max=10))


class ReceiptSchema(Schema):
    """What an accepted update led to."""

    user_id = fields.String()
    score = ScoreValue(metadata={"description": "The user's score after the update."})
    score_id = fields.Integer()
    created_at = Moment()
    applied = fields.Boolean()


class ResultSchema(Schema):
    """What one update of a batch is answered."""

    status = fields.Integer(
        validate=validate.OneOf([200, 400, 401, 429, 500]),
        metadata={"description": "The status of that answer.", "example": 200},
    )
    body = fields.Dict(metadata={"description": "A receipt, or the error of this update."})
    retry_after = fields.Integer(metadata={"optional": True})


class ResultsSchema(Schema):
    """What the updates of a batch are answered, each on its own."""

    results = fields.List(fields.Nested(ResultSchema))


update_schema = UpdateSchema()
batch_schema = BatchSchema()
entries_schema = EntrySchema(many=True)
top10_schema = Top10Schema()
# Told by hand, by the hundred: these two say how, and the tests hold the answers against them.
receipt_schema = ReceiptSchema()
results_schema = ResultsSchema()
