"""Request and response schemas of the auth endpoints."""

import re
from typing import Any

from marshmallow import ValidationError, fields, validate

from ..http.fields import Moment, Schema
from .names import MAX_NAME_LENGTH, check_username
from .passwords import normalized
from .reset_links import MAX_TOKEN_LENGTH

MAX_EMAIL_LENGTH, MAX_PASSWORD_LENGTH, MAX_JOIN_CODE_LENGTH = 254, 256, 64
NO_CONTROL_CHARACTERS = validate.Regexp(re.compile(r"[^\x00-\x1f\x7f]*\Z"))


class Username(fields.String):
    """A username; surrounding whitespace is stripped."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        return str(super()._deserialize(value, *args, **kwargs)).strip()


class EmailAddress(fields.Email):
    """An email address in lower case: addresses that differ only in case are the same."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        return str(super()._deserialize(value, *args, **kwargs)).lower()


class PasswordLength(validate.Length):
    """Validates the length of a password in NFC, the form that is hashed."""

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises ValidationError if it is too short or too long."""
        # NFC takes quadratic time; the longest valid password decomposes to 4 times its length.
        super().__call__(normalized(value) if len(value) <= 4 * MAX_PASSWORD_LENGTH else value)
        return value


def check_unicode(text: str) -> None:
    """Raise ValidationError for a lone surrogate, which is valid in JSON but not in UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError("Must be text that UTF-8 can write.") from None


# Rules of every name and address, and of new and existing passwords.
LINE = (NO_CONTROL_CHARACTERS, check_unicode)
NEW_PASSWORD: list[Any] = [PasswordLength(8, MAX_PASSWORD_LENGTH), check_unicode]
ANY_PASSWORD: list[Any] = [PasswordLength(1, MAX_PASSWORD_LENGTH), check_unicode]


EMAIL: list[Any] = [validate.Length(max=MAX_EMAIL_LENGTH), *LINE]
NAME_LENGTH = {"minLength": 1, "maxLength": MAX_NAME_LENGTH}


class JoinSchema(Schema):
    """The body of `POST /api/auth/join`."""

    username = Username(required=True, validate=check_username, metadata=NAME_LENGTH)
    join_code = fields.String(validate=[validate.Length(0, MAX_JOIN_CODE_LENGTH), *LINE])


class RegisterSchema(JoinSchema):
    """The body of `POST /api/auth/register`."""

    email = EmailAddress(required=True, validate=EMAIL)
    password = fields.String(required=True, validate=NEW_PASSWORD)


class AccountSchema(Schema):
    """An account as its owner sees it."""

    user_id = fields.String()
    username = fields.String()
    email = fields.String(allow_none=True)
    role = fields.String()
    created_at = Moment()


class LoginSchema(Schema):
    """The body of `POST /api/auth/login`. The rules for new names and passwords do not apply."""

    username = Username(required=True, validate=[validate.Length(1, MAX_NAME_LENGTH), *LINE])
    password = fields.String(required=True, validate=ANY_PASSWORD)


class TokensSchema(Schema):
    """The access and refresh token of a sign-in."""

    access_token = fields.String()
    refresh_token = fields.String()
    token_type = fields.String()
    expires_in = fields.Integer()
    user_id = fields.String()


class ClaimSchema(Schema):
    """The body of `POST /api/auth/claim`."""

    email = EmailAddress(required=True, validate=EMAIL)
    password = fields.String(required=True, validate=NEW_PASSWORD)


class CurrentPasswordSchema(Schema):
    """The body of `DELETE /api/auth/me`. A guest has no password."""

    current_password = fields.String(validate=ANY_PASSWORD)


class PasswordSchema(CurrentPasswordSchema):
    """The body of `POST /api/auth/password`."""

    new_password = fields.String(required=True, validate=NEW_PASSWORD)


class ProfileSchema(CurrentPasswordSchema):
    """The body of `PATCH /api/auth/me`."""

    username = Username(validate=check_username, metadata=NAME_LENGTH)
    email = EmailAddress(validate=EMAIL)


class ForgotSchema(Schema):
    """The body of `POST /api/auth/forgot`."""

    email = EmailAddress(required=True, validate=EMAIL)


class ResetSchema(Schema):
    """The body of `POST /api/auth/reset`."""

    token = fields.String(required=True, validate=[validate.Length(1, MAX_TOKEN_LENGTH), *LINE])
    new_password = fields.String(required=True, validate=NEW_PASSWORD)


class ViewerTokenSchema(Schema):
    """A read-only token for a public board."""

    access_token = fields.String()
    expires_in = fields.Integer()


join_schema = JoinSchema()
register_schema = RegisterSchema()
login_schema = LoginSchema()
claim_schema = ClaimSchema()
current_password_schema = CurrentPasswordSchema()
password_schema = PasswordSchema()
profile_schema = ProfileSchema()
forgot_schema = ForgotSchema()
reset_schema = ResetSchema()
account_schema = AccountSchema()
tokens_schema = TokensSchema()
viewer_token_schema = ViewerTokenSchema()
