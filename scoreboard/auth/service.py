"""Joining, registration, sign-in, sign-out, token renewal, and what users do to their account."""

import contextlib
import hmac
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection

from ..db import rate_limits, transactions
from ..errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ScoreboardError,
)
from ..http import fields, request
from ..observability import audit
from ..services import services
from . import accounts, passwords, reset_links, revocations, tokens
from .names import is_reserved, name_key
from .schemas import (
    claim_schema,
    current_password_schema,
    forgot_schema,
    join_schema,
    login_schema,
    password_schema,
    profile_schema,
    register_schema,
    reset_schema,
)

# How long a used refresh token is accepted again: its response was lost, or a second browser tab
# sent the same token.
REUSE_GRACE = timedelta(seconds=30)


def join(body: object, client: request.ClientInfo) -> dict[str, Any]:
    """Create a guest, a player with only a name; return its tokens.

    Raises InvalidInput, NotAuthenticated or Conflict.
    """
    with audit.account_event(client, "join") as event:
        loaded = join_schema.load(fields.json_object(body))
        _check_joining(loaded)
        account = accounts.create(loaded["username"], None, None, "player")
        event.user_id = account.user_id
        lifetime = current_app.config["GUEST_REFRESH_TOKEN_EXPIRES"]
        return tokens.issue_pair(account.user_id, account.role, refresh_lifetime=lifetime)


def _check_joining(loaded: dict[str, Any]) -> None:
    """Raise an error unless a client with this code may join under this name."""
    settings = current_app.config
    if settings["JOINING"] == "closed":
        message = "Joining is closed: ask an admin for an account."
        raise NotAuthenticated(message, "joining_closed")
    given, code = (
        text.strip().casefold() for text in (loaded.get("join_code", ""), settings["JOIN_CODE"])
    )
    if settings["JOINING"] == "code" and not hmac.compare_digest(given.encode(), code.encode()):
        message = "The join code is missing or wrong: use the join link, or ask for the code."
        raise NotAuthenticated(message, "join_code_required")
    _check_not_reserved(loaded["username"])


def _check_not_reserved(username: str) -> None:
    if is_reserved(username):
        message = "This username is reserved: choose another."
        raise InvalidInput(message, {"username": ["Reserved."]}, "name_reserved")


def register(body: object, client: request.ClientInfo) -> accounts.Account:
    """Create an account with the role player. Blocks while the password is hashed.

    Raises InvalidInput, NotAuthenticated, Conflict or Overloaded.
    """
    with audit.account_event(client, "register") as event:
        loaded = register_schema.load(fields.json_object(body))
        _check_joining(loaded)
        password_hash = _hash(loaded["password"], client)
        account = accounts.create(loaded["username"], loaded["email"], password_hash, "player")
        event.user_id = account.user_id
        return account


def login(body: object, client: request.ClientInfo) -> dict[str, Any]:
    """Return a new token pair for a username and password. Blocks while the password is checked.

    Raises InvalidInput, NotAuthenticated, RateLimited or Overloaded.
    """
    with audit.account_event(client, "login") as event:
        loaded = login_schema.load(fields.json_object(body))

        def find() -> accounts.Account | None:
            account = accounts.by_name(loaded["username"])
            event.user_id = account.user_id if account else None
            return account

        key = name_key(loaded["username"])
        account = _with_password(find, key, loaded["password"], client)
        if account is None:
            raise NotAuthenticated("Username or password is wrong.", "wrong_credentials")
        if account.suspended_at is not None:
            raise NotAuthenticated("This account is suspended.", "account_suspended")
        return tokens.issue_pair(account.user_id, account.role)


def _with_password(
    find: Callable[[], accounts.Account | None], key: str, password: str, client: request.ClientInfo
) -> accounts.Account | None:
    """Return the account that `find` returns if it has this password, else None.

    Blocks for a check of a password, also without an account. Failures count for the name with this
    key and the address. Raises RateLimited or Overloaded.
    """
    failures_key = f"{client.address}/{key}"
    _limit_failures(failures_key)
    with services().password_queue.slot(client.address):
        _limit_failures(failures_key)  # again: other attempts may have failed during the wait
        account = find()
        password_hash = account.password_hash if account else None
        if passwords.matches(password, password_hash):
            return account
    rate_limits.count("LOGIN_RATE_LIMIT", {failures_key: 1})
    return None


def _limit_failures(key: str) -> None:
    """Raise RateLimited if too many sign-ins to this account from this address have failed."""
    (quota,) = rate_limits.count("LOGIN_RATE_LIMIT", {key: 0})
    if quota.amount < 1:
        raise RateLimited(quota.retry_after)


def refresh(token: str | None, client: request.ClientInfo) -> dict[str, Any]:
    """Return a new token pair for a refresh token, which is then used up.

    Reuse within REUSE_GRACE returns another pair of the same sign-in. Later reuse means that the
    token was stolen; since either use may be the thief's, the whole sign-in is revoked and its
    connections are closed. Raises NotAuthenticated.
    """
    with audit.account_event(client, "refresh") as event:
        claims = tokens.read(token, "refresh")
        event.user_id = claims["sub"]
        family, expires_at = tokens.token_ids(claims)[-1], revocations.latest_expiry(claims)

        def rotate(connection: Connection) -> str | None:
            role = revocations.current_role(connection, {**claims, "jti": None})
            used_at = revocations.revoke(connection, claims["jti"], expires_at)
            # `abs`: a time far in the future was recorded before the clock was set back.
            if used_at is None or abs(datetime.now(UTC) - used_at) < REUSE_GRACE:
                return role
            revocations.revoke(connection, family, expires_at)
            return None

        role = transactions.transaction(rotate)
        if role is None:
            services().session_revoked(family, datetime.now(UTC))
            message = "This refresh token was used before: sign in again."
            raise NotAuthenticated(message, "token_reused")
        return tokens.issue_pair(claims["sub"], role, family, tokens.lifetime_of(claims))


def logout(token: str | None, client: request.ClientInfo) -> None:
    """Revoke the sign-in of an access or (even used) refresh token; close its connections."""
    with audit.account_event(client, "logout") as event:
        claims = tokens.read(token, "access", "refresh")
        event.user_id = tokens.user_id(claims)
        session, expires_at = tokens.token_ids(claims)[-1], revocations.latest_expiry(claims)
        checked = {**claims, "jti": None} if claims["type"] == "refresh" else claims

        def end(connection: Connection) -> None:
            revocations.current_role(connection, checked)
            revocations.revoke(connection, session, expires_at)

        transactions.transaction(end)
        services().session_revoked(session, datetime.now(UTC))


def claim(body: object, token: str | None, client: request.ClientInfo) -> accounts.Account:
    """Make a guest a full account; end its other sign-ins. Blocks while the password is hashed.

    Raises InvalidInput, NotAuthenticated, Conflict or Overloaded.
    """
    with _own_account("claim", token, client) as account:
        loaded = claim_schema.load(fields.json_object(body))
        refusal = Conflict(
            "This account has a password already: it is no guest's.", "already_claimed"
        )
        if account.password_hash is not None:
            raise refusal
        email, password_hash = loaded["email"], _hash(loaded["password"], client)
        return _set_password(account, token, refusal, email=email, password_hash=password_hash)


def change_password(body: object, token: str | None, client: request.ClientInfo) -> None:
    """Set a new password and end the user's other sign-ins. Blocks while passwords are hashed.

    Raises InvalidInput, NotAuthenticated, RateLimited or Overloaded.
    """
    with _own_account("password", token, client) as account:
        loaded = password_schema.load(fields.json_object(body))
        _check_current_password(account, loaded, client)
        password_hash = _hash(loaded["new_password"], client)
        _set_password(account, token, _wrong_password(), password_hash=password_hash)


def _set_password(
    account: accounts.Account, token: str | None, refusal: ScoreboardError, **values: Any
) -> accounts.Account:
    """Set these columns of the account, and end all its sign-ins but that of the token.

    Raises what `_still_allowed` raises: to keep a sign-in that was ended would make its revoked
    tokens valid again.
    """
    kept = tokens.token_ids(tokens.read(token, "access"))[-1]
    check = _still_allowed(account, token, refusal)
    return accounts.change(account.user_id, ends_sessions=True, kept=kept, check=check, **values)


def _still_allowed(
    account: accounts.Account, token: str | None, refusal: ScoreboardError
) -> accounts.Check:
    """Return a check for the transaction of a change that waited for a hash, often for seconds.

    It raises `refusal` if the password was changed meanwhile, and NotAuthenticated if the sign-in
    was ended.
    """
    claims = tokens.read(token, "access")

    def check(connection: Connection, password_hash: str | None) -> None:
        revocations.current_role(connection, claims)
        if password_hash != account.password_hash:
            raise refusal

    return check


def change_me(body: object, token: str | None, client: request.ClientInfo) -> accounts.Account:
    """Change the name or address of the token's user. Blocks while the password is checked.

    Raises InvalidInput, NotAuthenticated, Conflict, RateLimited or Overloaded.
    """
    with _own_account("change", token, client) as account:
        loaded = profile_schema.load(fields.json_object(body))
        name = loaded.get("username", account.username)
        if name_key(name) != name_key(account.username):
            _check_not_reserved(name)
        _check_current_password(account, loaded, client)
        check = _still_allowed(account, token, _wrong_password())
        return accounts.change(account.user_id, check=check, **loaded)


def erase_me(body: object, token: str | None, client: request.ClientInfo) -> None:
    """Erase the token's user; see `accounts.erase`. Blocks while the password is checked.

    Raises InvalidInput, NotAuthenticated, RateLimited or Overloaded.
    """
    with _own_account("erase", token, client) as account:
        loaded = current_password_schema.load(fields.json_object(body))
        _check_current_password(account, loaded, client)
        accounts.erase(account.user_id)


def _check_current_password(
    account: accounts.Account, loaded: dict[str, Any], client: request.ClientInfo
) -> None:
    """Remove `current_password` from the fields; raise an error unless it is the account's.

    A guest has no password, and needs none.
    """
    password = loaded.pop("current_password", None)
    if account.password_hash is None:
        return
    if password is None:
        problem = {"current_password": ["Missing data for required field."]}
        raise InvalidInput("Send the current password as well.", problem)
    key = name_key(account.username)
    if not _with_password(lambda: accounts.by_id(account.user_id), key, password, client):
        raise _wrong_password()


def _wrong_password() -> InvalidInput:
    # Not a 401: the token is valid, and clients would discard it.
    problem = {"current_password": ["Wrong."]}
    return InvalidInput("The current password is wrong.", problem, "wrong_password")


def _hash(password: str, client: request.ClientInfo) -> str:
    with services().password_queue.slot(client.address):
        return passwords.hash_password(password)


def forgot(body: object, client: request.ClientInfo) -> None:
    """Mail a reset link to the account with this address, in the background.

    Does not look for the account itself, so that it takes the same time for all addresses. Raises
    InvalidInput, and NotFound if the server sends no mail.
    """
    with audit.account_event(client, "forgot"):
        email = forgot_schema.load(fields.json_object(body))["email"]
        if not current_app.config["SMTP_URL"]:
            message = "This server sends no mail: ask an admin for a link."
            raise NotFound(message, "mail_unavailable")
        services().mailer.send_reset_link(email)


def reset(body: object, client: request.ClientInfo) -> None:
    """Set the password of a reset link's user; end all of the user's sign-ins.

    Blocks while the password is hashed. Raises InvalidInput or Overloaded.
    """
    with audit.account_event(client, "reset") as event:
        loaded = reset_schema.load(fields.json_object(body))
        event.user_id = reset_links.user_of(loaded["token"])
        reset_links.redeem(loaded["token"], _hash(loaded["new_password"], client))


def me(token: str | None) -> accounts.Account:
    """Return the account that this token belongs to. Raises NotAuthenticated."""
    caller = tokens.authenticate(token)
    account = accounts.by_id(caller.user_id) if caller.user_id else None
    if account is None:
        raise NotAuthenticated("This token belongs to no account: sign in.", "not_permitted")
    return account


@contextlib.contextmanager
def _own_account(
    action: str, token: str | None, client: request.ClientInfo
) -> Iterator[accounts.Account]:
    """Audit this action of the token's user in the context. Raises NotAuthenticated."""
    with audit.account_event(client, action) as event:
        account = me(token)
        event.user_id = account.user_id
        yield account


def viewer() -> dict[str, Any]:
    """Return a new read-only token. Raises Forbidden if the board is not public."""
    if not current_app.config["PUBLIC_BOARD"]:
        raise Forbidden("This board is not public: sign in to watch it.", "board_not_public")
    lifetime = current_app.config["VIEWER_TOKEN_EXPIRES"]
    token = tokens.issue_access(tokens.PUBLIC_VIEWER, "viewer", lifetime)
    return {"access_token": token, "expires_in": int(lifetime.total_seconds())}
