"""What an update may look like, and how the board is told."""

import re

from marshmallow import Schema, ValidationError, fields, validate

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


def check_updates(updates: object) -> None:
    """Raise ValidationError unless this is a list of as many updates as a batch may have."""
    if not isinstance(updates, list):
        raise ValidationError("Must be a list of updates.")
    if not 1 <= len(updates) <= MOST_IN_BATCH:
        raise ValidationError(f"Must be 1 to {MOST_IN_BATCH} updates.")


class BatchSchema(Schema):
    """The body of `POST /api/score/batch`; what its updates are is not looked at here."""

    # No fields.List: that looks at every one before it is asked how many there may be.
    updates = fields.Raw(required=True, validate=check_updates)


class EntrySchema(Schema):
    """One line of the top 10."""

    user_id = fields.String()
    score = ScoreValue()


update_schema = UpdateSchema()
batch_schema = BatchSchema()
entries_schema = EntrySchema(many=True)
