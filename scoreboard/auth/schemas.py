"""What may be asked of the auth endpoints."""

import re
import unicodedata
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from ..fields import Moment, Schema

LONGEST_NAME_KEY, LONGEST_EMAIL = 256, 254
NO_CONTROL = re.compile(r"[^\x00-\x1f\x7f]*\Z")


def name_key(username: str) -> str:
    """Return what two names have in common that a person would take for the same."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def check_username(username: str) -> None:
    """Raise ValidationError unless this can be shown on a board as a name."""
    if not 1 <= len(username) <= 64:
        raise ValidationError("Must be 1 to 64 characters long.")
    check_printable(username)
    if username != username.strip():
        raise ValidationError("Must be without spaces around it.")
    if not 1 <= len(name_key(username)) <= LONGEST_NAME_KEY:
        raise ValidationError("Must be a name that can be written plainly.")


def check_text(text: str) -> None:
    """Raise ValidationError for half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError("Must be text that UTF-8 can write.") from None


def check_folded(email: str) -> None:
    """Raise ValidationError for what is longer in lower case, as it is kept, than it may be."""
    if len(email.lower()) > LONGEST_EMAIL:
        raise ValidationError(f"Must be {LONGEST_EMAIL} characters at most in lower case.")


def check_printable(name: str) -> None:
    """Raise ValidationError for what nobody can be named."""
    if not name.isprintable():
        raise ValidationError("Must be printable.")


class RegisterSchema(Schema):
    """The body of `POST /api/auth/register`."""

    username = fields.String(
        required=True,
        validate=check_username,
        metadata={
            "description": "The name on the board: printable, no spaces around it, unique.",
            "minLength": 1,
            "maxLength": 64,
        },
    )
    email = fields.Email(
        required=True,
        validate=[
            validate.Length(max=LONGEST_EMAIL),
            validate.Regexp(NO_CONTROL),
            check_text,
            check_folded,
        ],
        metadata={"description": "Kept in lower case, and shown to nobody else."},
    )
    password = fields.String(
        required=True,
        validate=[validate.Length(8, 256), check_text],
        metadata={"description": "Any text; kept as a hash."},
    )

    @post_load
    def fold(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Addresses that differ only in case are one."""
        return {**data, "email": data["email"].lower()}


class AccountSchema(Schema):
    """An account as its owner sees it."""

    user_id = fields.String()
    username = fields.String()
    email = fields.String()
    role = fields.String()
    created_at = Moment()


class LoginSchema(Schema):
    """The body of `POST /api/auth/login`. The rules for a new name or password do not apply."""

    username = fields.String(
        required=True,
        validate=[validate.Length(1, 64), check_printable],
        metadata={"description": "The name, in whatever case."},
    )
    password = fields.String(
        required=True,
        validate=[validate.Length(1, 256), check_text],
        metadata={"description": "The password of the account."},
    )


class TokensSchema(Schema):
    """A pair of tokens of one sign-in."""

    access_token = fields.String()
    refresh_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    user_id = fields.String()


class ViewerTokenSchema(Schema):
    """A read-only token."""

    access_token = fields.String()
    expires_in = fields.Integer(metadata={"example": 3600})


register_schema = RegisterSchema()
login_schema = LoginSchema()
account_schema = AccountSchema()
tokens_schema = TokensSchema()
viewer_token_schema = ViewerTokenSchema()
