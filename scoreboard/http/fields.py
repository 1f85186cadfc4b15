"""Marshmallow extensions: bounded and fast schemas, and fields for user ids, scores and times."""

import math
import re
from datetime import UTC, datetime
from typing import Any

import marshmallow
from marshmallow import ValidationError, fields, validate

from ..errors import InvalidInput
from ..models import MAX_SCORE

# Every schema has fewer fields.
MAX_FIELDS = 20

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
BOARD_ID = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
NOT_A_TIME = "Must be a time in ISO 8601, as in 2026-01-31T12:00:00Z."
# A rough ISO 8601 check first: `datetime.fromisoformat` accepts any separator and a trailing NUL.
TIMESTAMP = re.compile(
    r"[0-9W-]{8,10}([Tt ][0-9:]{2,8}([.,][0-9]{1,20})?([Zz]|[+-][0-9:.]{2,15})?)?", re.ASCII
)


class UserId(fields.Field[str]):
    """A user id: a UUID as text, in lower case once loaded."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not UUID.fullmatch(value):
            raise ValidationError("Must be a user id: a UUID in text.")
        return value.lower()


class BoardId(fields.Field[str]):
    """The id of a board."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not BOARD_ID.fullmatch(value):
            raise ValidationError("Must be 1 to 32 characters of a-z 0-9 -.")
        return value


class ScoreValue(fields.Field[float]):
    """A finite JSON number that a double holds exactly; strings and booleans are not numbers."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number.")
        # Check the range first: `float` raises for a huge integer.
        if not abs(value) <= MAX_SCORE or not math.isfinite(value):
            raise ValidationError(f"Must be a number from {-MAX_SCORE} to {MAX_SCORE}.")
        return float(value)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> int | float:
        return number(value)


class Moment(fields.Field[datetime]):
    """A time in ISO 8601, loaded as UTC; without an offset it is taken as UTC."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not TIMESTAMP.fullmatch(value):
            raise ValidationError(NOT_A_TIME)
        try:
            time = datetime.fromisoformat(value.upper())
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(NOT_A_TIME) from None

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else moment(value)


class IntegerInRange(fields.Integer):
    """An integer within bounds, in plain digits: Python would also accept `1_0` and ` 10`."""

    def __init__(self, minimum: int, maximum: int, **options: Any) -> None:
        problem = f"Must be a whole number from {minimum} to {maximum}."
        in_range = validate.Range(minimum, maximum, error=problem)
        super().__init__(validate=in_range, error_messages={"invalid": problem}, **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not re.fullmatch("-?[0-9]+", str(value)):
            raise self.make_error("invalid")
        return super()._deserialize(value, *args, **kwargs)


class Schema(marshmallow.Schema):
    """A schema that rejects input with too many fields before it looks at each of them."""

    def load(self, data: Any, **options: Any) -> Any:
        """Load as Marshmallow does. Raises InvalidInput for more than `MAX_FIELDS` fields."""
        if isinstance(data, dict) and len(data) > MAX_FIELDS:
            raise InvalidInput(f"There are more than {MAX_FIELDS} fields.", {})
        return super().load(data, **options)


class QuerySchema(marshmallow.Schema):
    """A schema of a query string; ignores the parameters that caches and trackers add to URLs."""

    class Meta:
        """Options of the Marshmallow schema."""

        unknown = marshmallow.EXCLUDE


class FastSchema(Schema):
    """A flat schema that loads valid input without Marshmallow's overhead.

    It must have no hooks, nested schemas or defaults. If a field is invalid, Marshmallow loads the
    input again and reports all errors.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._required = {name for name, field in self.load_fields.items() if field.required}

    def fast_load(self, body: object) -> dict[str, Any]:
        """Return what `load` returns, in half the time. Raises what `load` raises."""
        if type(body) is dict and self._required <= body.keys() <= self.load_fields.keys():
            known = self.load_fields
            try:
                return {each: known[each].deserialize(body[each]) for each in known if each in body}
            except ValidationError:
                pass  # `load` reports all errors, not only the first
        return self.load(body)


def json_object(body: object, max_size: int = 64) -> dict[str, Any]:
    """Return the body. Raises InvalidInput, with the limit in KiB, unless it is an object."""
    if not isinstance(body, dict):
        message = f"The body must be a JSON object of at most {max_size} KiB."
        raise InvalidInput(message, {}, "invalid_json")
    return body


def number(value: float) -> int | float:
    """Return a score as it is written in JSON: an int if it is whole (120, never 120.0)."""
    return int(value) if value == int(value) else value


def moment(value: datetime) -> str:
    """Return a time as it is written in JSON: ISO 8601 in UTC, with a Z."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
