"""Schemas of the handshake, and of the live messages.

The messages are built without them for speed; tests compare the two.
"""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from ..boards.schemas import BoardSchema
from ..http.fields import BOARD_ID, BoardId, ScoreValue
from ..leaderboard.schemas import Top10Schema
from ..leaderboard.top10 import TOP

# Boards that one connection may watch at the same time.
MAX_BOARDS = 20


def _type(name: str) -> fields.String:
    return fields.String(validate=validate.OneOf([name]), metadata={"description": "Always this."})


class BoardIds(fields.Field[list[str]]):
    """A list of at most MAX_BOARDS board ids."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[str]:
        if not isinstance(value, list) or len(value) > MAX_BOARDS:
            raise ValidationError(f"Must be a list of at most {MAX_BOARDS} boards.")
        return [str(BoardId().deserialize(each)) for each in value]


class HandshakeSchema(Schema):
    """The `auth` of a Socket.IO client."""

    token = fields.String(metadata={"description": "An access token."})
    boards = BoardIds(
        load_default=None,
        allow_none=True,
        metadata={
            "type": "array",
            "items": {"type": "string", "pattern": f"^{BOARD_ID.pattern}$"},
            "maxItems": MAX_BOARDS,
            "description": "The boards to watch. Without it, the connection watches `main` and its"
            " messages contain no names.",
            "example": ["weekly", "main"],
        },
    )


class NewScoreSchema(Schema):
    """A user's score after an update."""

    user_id = fields.String()
    new_score = ScoreValue()


class ScoreUpdateSchema(Schema):
    """Sent for every accepted update, in the order of the updates."""

    type = _type("score_update")
    data = fields.Nested(NewScoreSchema)


class Top10UpdateSchema(Schema):
    """Sent once after connecting, and from then on whenever the top 10 changes, and only then."""

    type = _type("top_10_update")
    data = fields.Nested(Top10Schema)


class NamedNewScoreSchema(NewScoreSchema):
    """A user's score on a board after an update."""

    username = fields.String()


class LineSchema(Schema):
    """One line of the top 10 of a board."""

    user_id = fields.String()
    username = fields.String()
    score = ScoreValue()
    rank = fields.Integer()


class LinesSchema(Schema):
    """The top 10 of a board."""

    top_10_scores = fields.List(fields.Nested(LineSchema), validate=validate.Length(max=TOP))


class NamedScoreUpdateSchema(Schema):
    """Sent for every update that counts on a board, in the order of the updates."""

    type = _type("score_update")
    board = fields.String()
    season = fields.Integer()
    data = fields.Nested(NamedNewScoreSchema)


class NamedTop10UpdateSchema(Schema):
    """Sent first for each board, then whenever its top 10 changes, and when a season starts."""

    type = _type("top_10_update")
    board = fields.String()
    season = fields.Integer()
    data = fields.Nested(LinesSchema)


class BoardUpdateSchema(Schema):
    """Sent when the settings, state or season change, and when moderation changes who is shown."""

    type = _type("board_update")
    board = fields.String()
    season = fields.Integer()
    data = fields.Nested(BoardSchema)


handshake_schema = HandshakeSchema()
