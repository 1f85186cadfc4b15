"""Schemas of the live messages, which are built without them for speed; tests compare the two."""

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
    """Sent once after connecting, and from then on whenever the top 10 changes, and only then."""

    type = fields.String(
        validate=validate.OneOf(["top_10_update"]), metadata={"description": "Always this."}
    )
    data = fields.Nested(Top10Schema)
