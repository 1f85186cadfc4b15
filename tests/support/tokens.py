"""Access tokens for the tests."""

import uuid
from datetime import UTC, datetime, timedelta

import jwt

from tests.support.servers import SECRETS


def bearer(token):
    """Return the header that sends this token."""
    return {"Authorization": f"Bearer {token}"}


def mint(sub, key=SECRETS["JWT_SECRET_KEY"], algorithm="HS256", without=(), **claims):
    """Return a token as a team's own sign-in would mint it, or almost."""
    now = datetime.now(UTC)
    whole = {
        "sub": sub,
        "role": "player",
        "type": "access",
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + timedelta(minutes=5),
        **claims,
    }
    return jwt.encode({k: v for k, v in whole.items() if k not in without}, key, algorithm)
