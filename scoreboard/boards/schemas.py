"""Schemas of board objects, and of the requests that create and change boards."""

import re
from typing import Any

from marshmallow import ValidationError, fields, validate

from ..auth import names
from ..http.fields import BoardId, Moment, QuerySchema, Schema, ScoreValue
from .seasons import WEEKDAYS, Reset, is_time_zone

# Places that one request reveals, each in a transaction of its own.
MAX_PLACES = 1000
MAX_TICKET_SECONDS = 3600
TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def _choice(*choices: str, **options: Any) -> fields.String:
    return fields.String(validate=validate.OneOf(choices), **options)


class JsonBoolean(fields.Field[bool]):
    """A JSON boolean; texts and numbers are none."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Must be true or false.")
        return value


class ResetField(fields.Field[Reset]):
    """When the seasons of a board end: an object with `every`, `on`, `at` and `time_zone`."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Reset:
        if not isinstance(value, dict):
            raise ValidationError("Must be null or an object.")
        extra = value.keys() - {"every", "on", "at", "time_zone"}
        if extra:
            raise ValidationError("Has a field that is not every, on, at or time_zone.")
        every, on = value.get("every"), value.get("on")
        if every not in ("day", "week", "month"):
            raise ValidationError("`every` must be day, week or month.")
        if every == "day" and on is not None:
            raise ValidationError("`on` must be left out for every day.")
        if every == "week" and on not in WEEKDAYS:
            raise ValidationError("`on` must be a weekday, such as monday.")
        if every == "month" and (type(on) is not int or not 1 <= on <= 28):
            raise ValidationError("`on` must be a day of the month from 1 to 28.")
        at, time_zone = value.get("at"), value.get("time_zone")
        if not isinstance(at, str) or not TIME_OF_DAY.fullmatch(at):
            raise ValidationError("`at` must be a time of day, such as 06:00.")
        if not isinstance(time_zone, str) or not is_time_zone(time_zone):
            raise ValidationError("`time_zone` must be an IANA name, such as Europe/Vienna.")
        return Reset(every, on, at, time_zone)


class TicketsField(fields.Field[int]):
    """An object with `min_seconds`, loaded as that number: the least age of a run ticket."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not isinstance(value, dict) or list(value) != ["min_seconds"]:
            raise ValidationError("Must be null or an object with `min_seconds` alone.")
        seconds = value["min_seconds"]
        if type(seconds) is not int or not 0 <= seconds <= MAX_TICKET_SECONDS:
            problem = f"`min_seconds` must be a whole number from 0 to {MAX_TICKET_SECONDS}."
            raise ValidationError(problem)
        return seconds


class Title(fields.Field[str]):
    """A title by the rules of usernames; surrounding spaces are dropped."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        title = value.strip() if isinstance(value, str) else ""
        names.check_username(title)
        return title


_RESET = {
    "type": "object",
    "description": "When seasons end: every day, week or month, on a weekday or a day 1 to 28, at a"
    " time of day in a time zone. Null: only by hand.",
    "example": {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"},
}


_TICKETS = {
    "type": "object",
    "description": "Players must send a run ticket with each update, one that is at least"
    " `min_seconds` old (0 to 3,600). Null: no tickets are needed.",
    "example": {"min_seconds": 20},
}


class ChangesSchema(Schema):
    """The body of `PATCH /api/admin/boards/<board>`: the fields to change."""

    title = Title(metadata={"type": "string"})
    policy = _choice("latest", "best", "total")
    order = _choice("desc", "asc", metadata={"description": "asc: lower is better."})
    format = _choice("number", "time", metadata={"description": "time: milliseconds."})
    min_score = ScoreValue(allow_none=True)
    max_score = ScoreValue(allow_none=True)
    submit = _choice("player", "scorer")
    public = JsonBoolean(metadata={"type": "boolean"})
    tickets = TicketsField(allow_none=True, metadata=_TICKETS)
    opens_at = Moment(allow_none=True)
    closes_at = Moment(allow_none=True)
    freezes_at = Moment(allow_none=True)
    reset = ResetField(allow_none=True, metadata=_RESET)


class NewBoardSchema(Schema):
    """The body of `POST /api/admin/boards`."""

    board_id = BoardId(required=True, metadata={"type": "string"})
    title = Title(required=True, metadata={"type": "string"})
    source = BoardId(load_default=None, allow_none=True, metadata={"type": "string"})
    policy = _choice("latest", "best", "total", load_default="latest")
    order = _choice("desc", "asc", load_default="desc")
    format = _choice("number", "time", load_default="number")
    min_score = ScoreValue(load_default=None, allow_none=True)
    max_score = ScoreValue(load_default=None, allow_none=True)
    submit = _choice("player", "scorer", load_default="player")
    public = JsonBoolean(load_default=True, metadata={"type": "boolean"})
    tickets = TicketsField(load_default=None, allow_none=True, metadata=_TICKETS)
    opens_at = Moment(load_default=None, allow_none=True)
    closes_at = Moment(load_default=None, allow_none=True)
    freezes_at = Moment(load_default=None, allow_none=True)
    reset = ResetField(load_default=None, allow_none=True, metadata=_RESET)


class SeasonSchema(Schema):
    """A season of a board."""

    number = fields.Integer()
    starts_at = fields.DateTime()
    ends_at = fields.DateTime(allow_none=True)


class BoardSchema(Schema):
    """The board object. It is written without this schema; tests compare the two."""

    board_id = fields.String()
    title = fields.String()
    source = fields.String(allow_none=True)
    policy = fields.String()
    order = fields.String()
    format = fields.String()
    min_score = ScoreValue(allow_none=True)
    max_score = ScoreValue(allow_none=True)
    submit = fields.String()
    public = fields.Boolean()
    tickets = fields.Dict(allow_none=True, metadata=_TICKETS)
    opens_at = fields.DateTime(allow_none=True)
    closes_at = fields.DateTime(allow_none=True)
    freezes_at = fields.DateTime(allow_none=True)
    frozen_at = fields.DateTime(allow_none=True)
    reset = fields.Dict(allow_none=True, metadata=_RESET)
    state = fields.String(validate=validate.OneOf(["open", "closed", "frozen", "archived"]))
    season = fields.Nested(SeasonSchema)
    players = fields.Integer()


class BoardsSchema(Schema):
    """All boards: `main` first."""

    boards = fields.List(fields.Nested(BoardSchema))


class SeasonsSchema(Schema):
    """The seasons of a board, the newest first."""

    seasons = fields.List(fields.Nested(SeasonSchema))


class Places(fields.Field[int | None]):
    """The number of places to reveal; None for all of them."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int | None:
        if value == "all":
            return None
        if type(value) is not int or not 1 <= value <= MAX_PLACES:
            raise ValidationError(f'Must be a whole number from 1 to {MAX_PLACES}, or "all".')
        return value


class RevealSchema(Schema):
    """The body of `POST /api/admin/boards/<board>/reveal`."""

    places = Places(
        required=True,
        metadata={
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_PLACES},
                {"type": "string", "enum": ["all"]},
            ],
            "example": 1,
        },
    )


class LiveQuerySchema(QuerySchema):
    """The query of reads that show a frozen board as it was; with `live=1`, as it is."""

    live = fields.String(
        load_default="0",
        validate=validate.OneOf(["0", "1"]),
        metadata={
            "description": "1: read a frozen board as it is. Needs a token of a scorer or an admin."
        },
    )


class BoardReferenceSchema(Schema):
    """The board in the path."""

    board = BoardId(required=True, metadata={"type": "string"})


changes_schema = ChangesSchema()
new_board_schema = NewBoardSchema()
board_object_schema = BoardSchema()
boards_schema = BoardsSchema()
seasons_schema = SeasonsSchema()
board_reference_schema = BoardReferenceSchema()
reveal_schema = RevealSchema()
live_query_schema = LiveQuerySchema()
