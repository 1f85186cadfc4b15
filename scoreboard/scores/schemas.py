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


update_schema = UpdateSchema()
batch_schema = BatchSchema()
entries_schema = EntrySchema(many=True)
