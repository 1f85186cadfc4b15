"""The fields that Marshmallow has no equal of: user ids, scores, moments."""

import math
import re
from datetime import UTC, datetime
from typing import Any

from marshmallow import ValidationError, fields

from .models import MAX_SCORE

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
# What ISO 8601 is written with: datetime itself takes any separator, and a NUL at the end.
NOT_A_TIME = "Must be a time in ISO 8601, as in 2026-01-31T12:00:00Z."
TIMESTAMP = re.compile(r"[0-9TZW:+. -]{8,40}", re.ASCII)


class UserId(fields.Field[str]):
    """A user's id: a UUID in text, in lower case once loaded."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not UUID.fullmatch(value):
            raise ValidationError("Must be a user id: a UUID in text.")
        return value.lower()


class ScoreValue(fields.Field[float]):
    """A finite JSON number that a double holds exactly; strings and booleans are not numbers."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number.")
        # Compared before it is converted: a huge whole number has no float.
        if not abs(value) <= MAX_SCORE or not math.isfinite(value):
            raise ValidationError(f"Must be a number from {-MAX_SCORE} to {MAX_SCORE}.")
        return float(value)

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> int | float:
        return number(value)


class Moment(fields.Field[datetime]):
    """A moment in ISO 8601; without an offset it is UTC."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not TIMESTAMP.fullmatch(value):
            raise ValidationError(NOT_A_TIME)
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValidationError(NOT_A_TIME) from None

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def number(value: float) -> int | float:
    """Return a score as it is told: 120 for a whole number, never 120.0."""
    return int(value) if value == int(value) else value
