"""How the live messages look. They are many and written by hand, and tested against these."""

from marshmallow import Schema, fields, validate

from ..http.fields import ScoreValue
from ..leaderboard.schemas import Top10Schema


class NewScoreSchema(Schema):
    """A user's score after an update."""

    user_id = fields.String()
    new_score = ScoreValue()


class ScoreUpdateSchema(Schema):
    """Sent for every accepted update, in the order of the updates."""

    type = fields.String(
        validate=validate.OneOf(["score_update"]), metadata={"description": "Always this."}
    )
    data = fields.Nested(NewScoreSchema)


class Top10UpdateSchema(Schema):
    """Sent once on connecting, and from then on when, and only when, the top 10 changed."""

    type = fields.String(
        validate=validate.OneOf(["top_10_update"]), metadata={"description": "Always this."}
    )
    data = fields.Nested(Top10Schema)
