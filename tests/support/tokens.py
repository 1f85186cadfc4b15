"""Access tokens for the tests."""

import uuid
from datetime import UTC, datetime, timedelta

import jwt

from tests.support.servers import SECRETS


def bearer(token):
    """Return the header that sends this token."""
    return {"Authorization": f"Bearer {token}"}


def mint(sub, key=SECRETS["JWT_SECRET_KEY"], algorithm="HS256", without=(), **claims):
    """Return an access token with these claims, without those named in `without`."""
    now = datetime.now(UTC)
    all_claims = {
        "sub": sub,
        "role": "player",
        "type": "access",
        "jti": uuid.uuid4().hex,
        "iat": now,
        "exp": now + timedelta(minutes=5),
        **claims,
    }
    return jwt.encode({k: v for k, v in all_claims.items() if k not in without}, key, algorithm)
