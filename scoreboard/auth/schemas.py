"""Request and response schemas of the auth endpoints."""

import re
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from ..http.fields import Moment, Schema
from .names import MAX_NAME, check_username
from .passwords import composed

MAX_EMAIL_LENGTH, MAX_PASSWORD = 254, 256
NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]*\Z")


class Username(fields.String):
    """A username; surrounding whitespace is stripped."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        return str(super()._deserialize(value, *args, **kwargs)).strip()


class PasswordLength(validate.Length):
    """Validates the length of a password in NFC, the form that is hashed."""

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises ValidationError if it is too short or too long."""
        # NFC takes quadratic time; MAX_PASSWORD characters decompose to 4 times that at most.
        super().__call__(composed(value) if len(value) <= 4 * MAX_PASSWORD else value)
        return value


def check_text(text: str) -> None:
    """Raise ValidationError for a lone surrogate, which is valid in JSON but not in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError("Must be text that UTF-8 can write.") from None


def check_folded(email: str) -> None:
    """Raise ValidationError if the address is too long in lower case, as it is stored."""
    if len(email.lower()) > MAX_EMAIL_LENGTH:
        raise ValidationError(f"Must be {MAX_EMAIL_LENGTH} characters at most in lower case.")


class RegisterSchema(Schema):
    """The body of `POST /api/auth/register`."""

    username = Username(
        required=True,
        validate=check_username,
        metadata={
            "description": "The name on the board: printable, unique whatever its case. "
            "Space around it is dropped.",
            "minLength": 1,
            "maxLength": 64,
        },
    )
    email = fields.Email(
        required=True,
        validate=[
            validate.Length(max=MAX_EMAIL_LENGTH),
            validate.Regexp(NO_CONTROL),
            check_text,
            check_folded,
        ],
        metadata={"description": "Kept in lower case, and shown to nobody else."},
    )
    password = fields.String(
        required=True,
        validate=[PasswordLength(8, MAX_PASSWORD), check_text],
        metadata={"description": "Any text; kept as a hash."},
    )

    @post_load
    def fold(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Store the address in lower case: addresses that differ only in case are the same."""
        return {**data, "email": data["email"].lower()}


class AccountSchema(Schema):
    """An account as its owner sees it."""

    user_id = fields.String()
    username = fields.String()
    email = fields.String()
    role = fields.String()
    created_at = Moment()


class LoginSchema(Schema):
    """The body of `POST /api/auth/login`. The rules for new names and passwords do not apply."""

    username = Username(
        required=True,
        validate=[validate.Length(1, MAX_NAME), validate.Regexp(NO_CONTROL), check_text],
        metadata={"description": "The name, in whatever case."},
    )
    password = fields.String(
        required=True,
        validate=[PasswordLength(1, MAX_PASSWORD), check_text],
        metadata={"description": "The password of the account."},
    )


class TokensSchema(Schema):
    """The access and refresh token of a sign-in."""

    access_token = fields.String()
    refresh_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    user_id = fields.String()


class ViewerTokenSchema(Schema):
    """A read-only token for a public board."""

    access_token = fields.String()
    expires_in = fields.Integer(metadata={"example": 3600})


register_schema = RegisterSchema()
login_schema = LoginSchema()
account_schema = AccountSchema()
tokens_schema = TokensSchema()
viewer_token_schema = ViewerTokenSchema()
