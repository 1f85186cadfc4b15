"""Request and response schemas of the score endpoints."""

import re

from marshmallow import ValidationError, fields, validate

from ..http.fields import (
    BoardId,
    FastSchema,
    IntegerInRange,
    Moment,
    Schema,
    ScoreValue,
    UserId,
)
from ..leaderboard.schemas import PageQuerySchema
from ..models import MAIN

MAX_BATCH_UPDATES = 1000
MAX_TICKET_LENGTH = 512
_BOARD = {"description": "`main` if left out."}


class UpdateSchema(FastSchema):
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
    board = BoardId(metadata=_BOARD)
    season = IntegerInRange(
        1,
        2**31 - 1,
        strict=True,
        metadata={"description": "Refuse the update unless this is the current season."},
    )
    ticket = fields.String(
        validate=validate.Length(
            1, MAX_TICKET_LENGTH, error=f"Must be 1 to {MAX_TICKET_LENGTH} characters."
        ),
        metadata={"description": "A run ticket, for boards with `tickets`. Scorers need none."},
    )


class TicketRequestSchema(Schema):
    """The body of `POST /api/score/ticket`."""

    board = BoardId(load_default=MAIN, metadata=_BOARD)


class TicketSchema(Schema):
    """A run ticket."""

    ticket = fields.String()
    expires_at = Moment()


def check_updates(updates: object) -> None:
    """Raise ValidationError unless `updates` is a list of 1 to MAX_BATCH_UPDATES items."""
    if not isinstance(updates, list):
        raise ValidationError("Must be a list of updates.")
    if not 1 <= len(updates) <= MAX_BATCH_UPDATES:
        raise ValidationError(f"Must be 1 to {MAX_BATCH_UPDATES} updates.")


class BatchSchema(Schema):
    """The body of `POST /api/score/batch`; does not validate the updates themselves."""

    # Not fields.List: it deserializes every item before the length is checked.
    updates = fields.Raw(
        required=True,
        validate=check_updates,
        metadata={
            "description": f"1 to {MAX_BATCH_UPDATES} updates, each handled independently.",
            "type": "array",
            "items": UpdateSchema,
            "minItems": 1,
            "maxItems": MAX_BATCH_UPDATES,
        },
    )


class ReceiptSchema(Schema):
    """The result of an accepted update."""

    user_id = fields.String()
    score = ScoreValue(metadata={"description": "The user's score after the update."})
    score_id = fields.Integer()
    created_at = Moment()
    applied = fields.Boolean()
    board = fields.String(
        metadata={"description": "Only if the update names a board.", "optional": True}
    )
    season = fields.Integer(metadata={"optional": True})


class ResultSchema(Schema):
    """The result of one update of a batch."""

    status = fields.Integer(
        validate=validate.OneOf([200, 400, 401, 429, 500]),
        metadata={"description": "The status that this update alone would get.", "example": 200},
    )
    body = fields.Dict(metadata={"description": "A receipt, or the error of this update."})
    retry_after = fields.Integer(metadata={"optional": True})


class ResultsSchema(Schema):
    """The results of a batch, one per update, in order."""

    results = fields.List(fields.Nested(ResultSchema))


class PastScoreSchema(Schema):
    """One accepted update in a user's history."""

    score_id = fields.Integer()
    score_value = ScoreValue()
    timestamp = Moment(attribute="achieved_at")
    created_at = Moment()
    score = ScoreValue()
    applied = fields.Boolean()
    voided_at = Moment(
        allow_none=True, metadata={"description": "When the score was voided, if it was."}
    )
    void_reason = fields.String(
        allow_none=True,
        metadata={"description": "Why it was voided; only for admins.", "optional": True},
    )


class HistorySchema(Schema):
    """A page of a user's accepted updates, newest first."""

    scores = fields.List(fields.Nested(PastScoreSchema))
    next = fields.String(allow_none=True)


class HistoryQuerySchema(PageQuerySchema):
    """The query of `GET /api/users/<user_id>/scores`, and the user in its path."""

    user_id = UserId(required=True)
    board = BoardId(metadata={"description": "A board without a source; `main` if left out."})


update_schema = UpdateSchema()
ticket_request_schema = TicketRequestSchema()
ticket_schema = TicketSchema()
batch_schema = BatchSchema()
# Receipts and results are written without a schema, for speed. Tests check them against these two.
receipt_schema = ReceiptSchema()
results_schema = ResultsSchema()
past_scores_schema = PastScoreSchema(many=True, exclude=["void_reason"])
moderated_scores_schema = PastScoreSchema(many=True)
history_query_schema = HistoryQuerySchema(exclude=["live"])  # a history is never frozen
history_schema = HistorySchema()
