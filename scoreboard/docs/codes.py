"""Every error code a client can meet: its status, what it means, what to do about it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """What is told of an error code."""

    status: int
    meaning: str
    remedy: str


# What any request with an access or refresh token can be refused with.
TOKEN = (
    "token_missing",
    "token_invalid",
    "token_expired",
    "token_type",
    "token_revoked",
    "account_suspended",
)

CODES: dict[str, Code] = {
    "invalid_json": Code(
        400,
        "The body is no JSON object, or larger than this endpoint takes.",
        "Send one JSON object, in UTF-8, within the size that the message names.",
    ),
    "invalid_input": Code(
        400,
        "A field is missing or unknown, or a field or parameter breaks its rule.",
        "Put right what `fields` names; the same request will fail again.",
    ),
    "timestamp_in_future": Code(
        400,
        "The timestamp is more than 5 minutes ahead of the server's clock.",
        "Set the clock, or let the server's Date header say what time it is.",
    ),
    "name_reserved": Code(
        400,
        "Only an admin may give this username.",
        "Choose another, or ask an admin.",
    ),
    "unknown_user": Code(
        400,
        "No user has this user_id. Where the path names the user, the status is 404.",
        "Register the user first, and use the user_id that registration answers.",
    ),
    "replayed": Code(
        400,
        "This very update was accepted before; it does not count again.",
        "Nothing, if this was a retry: `receipt` is the answer that got lost. "
        "For one more equal update, give each a nonce of its own.",
    ),
    "session_ended": Code(
        400,
        "The Socket.IO session is not known to this process: it has ended, after a malformed "
        "packet for example, or another process has it.",
        "Connect again; the client library does by itself. Behind a load balancer, polling needs "
        "sticky sessions.",
    ),
    "unknown_transport": Code(
        400,
        "The transport of a Socket.IO request is neither polling nor websocket.",
        "Use `transport=polling` or `transport=websocket`.",
    ),
    "unsupported_protocol": Code(
        400,
        "A Socket.IO request without `EIO=4`: the client is older than version 3.",
        "Update the client library.",
    ),
    "transport_mismatch": Code(
        400,
        "A polling request for a Socket.IO session that uses a WebSocket.",
        "Send over the WebSocket, or connect again.",
    ),
    "bad_request": Code(
        400,
        "The request is not proper HTTP for this server.",
        "Look at the message; a proxy may have changed the request.",
    ),
    "token_missing": Code(
        401, "There is no token.", "Send `Authorization: Bearer TOKEN`; sign in to get one."
    ),
    "token_invalid": Code(
        401,
        "The token was not issued for this server, or its user is no more.",
        "Sign in again.",
    ),
    "token_expired": Code(
        401, "The token's time is over.", "Get a new one with the refresh token, or sign in again."
    ),
    "token_type": Code(
        401,
        "An access token where a refresh token is needed, or the other way round.",
        "Send the other token of the pair.",
    ),
    "token_revoked": Code(
        401, "The sign-in was ended: by signing out, or by an admin.", "Sign in again."
    ),
    "token_reused": Code(
        401,
        "This refresh token was used more than 30 s ago, so one of its two holders stole it.",
        "Sign in again. Keep the newest refresh token, and use each once.",
    ),
    "account_suspended": Code(401, "An admin suspended the account.", "Ask an admin."),
    "wrong_credentials": Code(401, "There is no such name with this password.", "Ask for both."),
    "not_permitted": Code(
        401,
        "The token is good, but its role may not do this.",
        "Use the token of somebody who may; see the roles.",
    ),
    "board_not_public": Code(
        403, "This server hands out no tokens to just anyone.", "Sign in to watch."
    ),
    "origin_not_allowed": Code(
        403,
        "A page of this website may not connect.",
        "Have the operator add its origin to CORS_ORIGINS.",
    ),
    "not_found": Code(404, "There is nothing at this address.", "Look at the path."),
    "unknown_namespace": Code(
        404,
        "A Socket.IO client connected to a namespace other than the main one.",
        'Give the path as an option, `io(origin, {path: "/ws/scoreboard"})`, not in the address.',
    ),
    "not_ranked": Code(
        404,
        "The user is not on the board: without a score, or hidden.",
        "Post a score first.",
    ),
    "unknown_score": Code(404, "No score has this score_id.", "Look at the score_id."),
    "method_not_allowed": Code(
        405, "This address does not take this method.", "Use one that the Allow header lists."
    ),
    "username_taken": Code(
        409,
        "Somebody has this username, or one that looks the same.",
        "Choose another.",
    ),
    "email_taken": Code(409, "There is an account with this address.", "Sign in instead."),
    "already_voided": Code(409, "This score was voided before.", "Nothing: it counts no more."),
    "out_of_range": Code(
        409,
        "Without this score the total would leave the range of exact numbers.",
        "Void another score of the user first.",
    ),
    "upgrade_required": Code(
        426,
        "This address is a WebSocket's.",
        "Connect with a WebSocket, or with Socket.IO at /ws/scoreboard/.",
    ),
    "rate_limited": Code(
        429,
        "Too many requests in the period.",
        "Wait as many seconds as Retry-After says, then send it again.",
    ),
    "too_many_connections": Code(
        429,
        "The user or the address holds as many live connections as it may.",
        "Close those that nobody needs.",
    ),
    "overloaded": Code(
        503,
        "Too much work is waiting; nothing was changed. For an update the status is 500.",
        "Wait for as long as `Retry-After` says, and send it again.",
    ),
    "stopping": Code(
        500, "The process is about to restart; nothing was changed.", "Send it again in a second."
    ),
    "server_error": Code(
        500,
        "Our own fault; nothing was changed, unless the database was lost while it answered.",
        "Send it again; an update that did arrive is told by `replayed`.",
    ),
}
