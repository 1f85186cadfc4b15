"""The auth endpoints. Those that issue accounts or tokens are rate limited per address."""

from typing import Any, cast

from flask import Blueprint, Flask, Response, request, stream_with_context
from flask.blueprints import BlueprintSetupState

from ..http.documented import Documented
from ..http.request import bearer_token, client_info, json_body
from ..services import services
from . import export, schemas, service

bp = Blueprint("auth", __name__, url_prefix="/api/auth")
# Settings with the rate limits per address, by endpoint.
SIGN_IN = dict.fromkeys(
    (
        *("auth.join", "auth.register", "auth.login", "auth.refresh", "auth.forgot", "auth.reset"),
        # These reveal which names and addresses are taken, as registering does.
        *("auth.claim", "auth.change_me"),
    ),
    "AUTH_RATE_LIMIT",
)
RATE_LIMITS = {**SIGN_IN, "auth.viewer": "VIEWER_RATE_LIMIT"}
JOIN_ERRORS = [
    *("join_code_required", "joining_closed", "name_reserved", "username_taken"),
    *("rate_limited", "overloaded"),
]
REGISTER_ERRORS = [*JOIN_ERRORS, "email_taken"]
RESET_ERRORS = ["reset_link_invalid", "rate_limited", "overloaded"]
PASSWORD_ERRORS = ["not_permitted", "wrong_password", "rate_limited"]
LOGIN_ERRORS = ["wrong_credentials", "account_suspended", "rate_limited", "overloaded"]


@bp.after_request
def close_after_failed_sign_in(response: Response) -> Response:
    """Close the connection after a failed sign-in: the server limits connections per address."""
    if response.status_code >= 400 and request.endpoint in ("auth.login", "auth.register"):
        response.headers["Connection"] = "close"
    return response


@bp.post("/join")
@Documented({201: schemas.tokens_schema}, body=schemas.join_schema, errors=JOIN_ERRORS)
def join() -> tuple[dict[str, Any], int]:
    """Join with a name only, as a guest with the role `player`.

    The refresh token, good for 180 days, is the only key to the account until it is claimed.
    """
    return service.join(json_body(), client_info()), 201


@bp.post("/register")
@Documented({201: schemas.account_schema}, body=schemas.register_schema, errors=REGISTER_ERRORS)
def register() -> tuple[dict[str, Any], int]:
    """Create an account with the role `player`."""
    return schemas.account_schema.dump(service.register(json_body(), client_info())), 201


@bp.post("/login")
@Documented({200: schemas.tokens_schema}, body=schemas.login_schema, errors=LOGIN_ERRORS)
def login() -> dict[str, Any]:
    """Sign in with a username and password."""
    return service.login(json_body(), client_info())


@bp.post("/refresh")
@Documented({200: schemas.tokens_schema}, needs="refresh", errors=["token_reused", "rate_limited"])
def refresh() -> dict[str, Any]:
    """Exchange a refresh token, sent as the Bearer token, for a new pair.

    Within 30 s the old token can be used again, for example if the response was lost, and
    returns another pair of the same sign-in. Using it later ends the sign-in.
    """
    return service.refresh(bearer_token(), client_info())


@bp.post("/logout")
@Documented({204: None}, needs="access or refresh")
def logout() -> tuple[str, int]:
    """End this sign-in: revoke its access and refresh tokens.

    Accepts either token, so that a sign-in with an expired access token can be ended too.
    """
    service.logout(bearer_token(), client_info())
    return "", 204


@bp.post("/claim")
@Documented(
    {200: schemas.account_schema},
    body=schemas.claim_schema,
    needs="access",
    errors=["not_permitted", "already_claimed", "email_taken", "rate_limited", "overloaded"],
)
def claim() -> dict[str, Any]:
    """Give a guest an email address and a password. Ends its other sign-ins."""
    account = service.claim(json_body(), bearer_token(), client_info())
    return schemas.account_schema.dump(account)


@bp.post("/password")
@Documented({204: None}, body=schemas.password_schema, needs="access", errors=PASSWORD_ERRORS)
def password() -> tuple[str, int]:
    """Set a new password. Ends all other sign-ins of the user."""
    service.change_password(json_body(), bearer_token(), client_info())
    return "", 204


@bp.patch("/me")
@Documented(
    {200: schemas.account_schema},
    body=schemas.profile_schema,
    needs="access",
    errors=[*PASSWORD_ERRORS, "name_reserved", "username_taken", "email_taken"],
)
def change_me() -> dict[str, Any]:
    """Change one's own name or email address. Guests need no password."""
    account = service.change_me(json_body(), bearer_token(), client_info())
    return schemas.account_schema.dump(account)


@bp.get("/me/export")
@Documented({200: "application/json"}, needs="access", errors=["not_permitted"])
def export_me() -> Response:
    """Download one's own account and all scores as one JSON object, the oldest score first."""
    parts = stream_with_context(export.parts(service.me(bearer_token())))
    name = "attachment; filename=scoreboard-account.json"
    return Response(parts, mimetype="application/json", headers={"Content-Disposition": name})


@bp.delete("/me")
@Documented(
    {204: None}, body=schemas.current_password_schema, needs="access", errors=PASSWORD_ERRORS
)
def erase_me() -> tuple[str, int]:
    """Erase one's own name, address and password, and leave every board.

    The scores stay in the history, without a person. Guests need no password: they send `{}`.
    """
    service.erase_me(json_body(), bearer_token(), client_info())
    return "", 204


@bp.post("/forgot")
@Documented({202: None}, body=schemas.forgot_schema, errors=["mail_unavailable", "rate_limited"])
def forgot() -> tuple[str, int]:
    """Mail a reset link to the account with this address, if there is one.

    The response is the same if there is none. Needs the setting SMTP_URL.
    """
    service.forgot(json_body(), client_info())
    return "", 202


@bp.post("/reset")
@Documented({204: None}, body=schemas.reset_schema, errors=RESET_ERRORS)
def reset() -> tuple[str, int]:
    """Set a password with the token of a reset link, which works once and for 24 hours.

    Ends all sign-ins of the user.
    """
    service.reset(json_body(), client_info())
    return "", 204


@bp.get("/me")
@Documented({200: schemas.account_schema}, needs="access", errors=["not_permitted"])
def me() -> dict[str, Any]:
    """Return the account that this token belongs to."""
    return schemas.account_schema.dump(service.me(bearer_token()))


@bp.post("/viewer")
@Documented({200: schemas.viewer_token_schema}, errors=["board_not_public", "rate_limited"])
def viewer() -> dict[str, Any]:
    """Issue a read-only token for a public board. Needs no sign-in."""
    return service.viewer()


@bp.record
def limit_rates(state: BlueprintSetupState) -> None:
    """Limit the views of `RATE_LIMITS`. Each application has its own counters."""
    app = cast(Flask, state.app)
    for endpoint, setting in RATE_LIMITS.items():
        view: Any = app.view_functions[endpoint]
        app.view_functions[endpoint] = services(app).limiter.limit(app.config[setting])(view)
