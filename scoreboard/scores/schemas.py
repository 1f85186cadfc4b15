"""What an update may look like, and how a receipt and the board are told."""

import re

from marshmallow import Schema, fields, validate

from ..fields import LeanSchema, Moment, ScoreValue, UserId


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


class ReceiptSchema(Schema):
    """The 200 answer to an update."""

    user_id = fields.String()
    score = ScoreValue()
    score_id = fields.Integer()
    created_at = Moment()
    applied = fields.Boolean()


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


update_schema = UpdateSchema()
receipt_schema = ReceiptSchema()
entries_schema = EntrySchema(many=True)
