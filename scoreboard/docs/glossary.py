"""What each name in a body, a message or a query means, and an example of it.

A name means the same wherever it occurs; where one does not, its field's metadata says so.
"""

from typing import Any

USER_ID = "3b9d5c1e-8a44-4f0e-9c55-0d9b3f6e7a21"
MODERATOR_ID = "a1f4c2d7-52b0-4c39-8f0a-6f1d2e3b4c5d"
TOKEN = ".".join(
    ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJzdWIiOiIzYjlkNWMxZSJ9", "c2lnbmF0dXJl"]
)

NAMES: dict[str, tuple[str, Any]] = {
    "accepted": ("How many were accepted.", 12),
    "access_token": ("Send it as `Authorization: Bearer`.", TOKEN),
    "after": ("Show only lines whose `seq` is higher.", 0),
    "applied": ("Whether this update set the score; else it is history only.", True),
    "around": ("How many neighbours to show on either side.", 5),
    "body": ("What that update would have been answered on its own.", None),
    "checks": ("What was looked at.", None),
    "connections": ("Live connections by kind.", {"socket.io": 3, "websocket": 120}),
    "created_at": ("When the server took it in.", "2026-01-31T12:00:01.250000Z"),
    "cursor": ("The `next` of the page before.", None),
    "data": ("What happened.", None),
    "database": ("`ok` or `failing`.", "ok"),
    "detail": ("What was unusual, in words.", "a step of 4000, the largest before was 120"),
    "dyno": ('What the platform calls it, "" where it calls it nothing.', "web.1"),
    "email": ("Unique, whatever its case; shown to nobody else.", "ann@example.com"),
    "entries": ("In the order of the board.", None),
    "entry": ("The user's own.", None),
    "expires_in": ("Seconds until the access token expires.", 900),
    "hidden": ("Whether the user is off the board.", False),
    "hour": ("The hour of the mark; one per user, rule and hour.", "2026-01-31T12:00:00Z"),
    "last_broadcast": ("Seconds since this process last told its viewers anything.", 1.5),
    "limit": ("How many to show at most.", 50),
    "lines": ("The newest last, each with its `seq`.", None),
    "marks": ("The newest first.", None),
    "minute": ("When the minute began.", "2026-01-31T12:00:00Z"),
    "minutes": ("The last 60, the oldest first and the present one last.", None),
    "name": ("The process, by a name that no other has.", "3f6e7a21"),
    "new_score": ("The user's score after the update.", 120),
    "next": ("The `cursor` of the next page, null on the last.", "WyJwYWdlIiwxXQ.c2lnbmVk"),
    "nonce": ("Makes an update unlike an equal one, and a retry recognizable.", "match-17-round-3"),
    "password": ("Kept as a hash.", "correct horse"),
    "position": ("The place on the board, nobody else's.", 3),
    "process": ("The process that answers, of which all this is.", None),
    "rank": ("The place, shared by those with the same score: 1, 2, 2, 4.", 2),
    "reached_at": (
        "When the user reached this score, by the server's clock.",
        "2026-01-31T12:00:01.250000Z",
    ),
    "reason": ("Why, for those who come after.", "a bug in level 3"),
    "redis": ("`ok`, `failing` or `not used`; failing is no reason for a 503.", "ok"),
    "refresh_token": ("Good for one new pair.", TOKEN),
    "refused": ("How many were refused, by the code of the error.", {"rate_limited": 3}),
    "results": ("One for each update, in their order.", None),
    "retry_after": ("Seconds to wait; only with the status 429.", 12),
    "role": ("`viewer`, `player`, `scorer` or `admin`.", "player"),
    "rule": ("Which rule of what is usual was broken.", "jump"),
    "score": ("The user's score now.", 120),
    "score_id": ("The score's place in the history.", 4711),
    "score_value": (
        "The value of this update; under `SCORE_POLICY=total` with at most 9 decimals.",
        120,
    ),
    "scores": ("The newest first.", None),
    "since": ("When it began to take note.", "2026-01-31T09:30:00Z"),
    "suspended": ("Whether the user is refused everywhere.", False),
    "timestamp": (
        "When the score was reached: ISO 8601, UTC if it has no offset. Up to 5 minutes ahead of "
        "the server's clock it counts as the moment of its arrival.",
        "2026-01-31T12:00:00Z",
    ),
    "token_type": ("Always `Bearer`.", "Bearer"),
    "top_10_scores": ("Highest first, ten at most.", None),
    "total": ("How many are on the board.", 1234),
    "updates": ("1 to 1,000 updates, each as for `POST /api/score/update`.", None),
    "user_id": ("A user: a UUID in text.", USER_ID),
    "username": ("The name on the board, unique in whatever case.", "ann"),
    "void_reason": ("The reason that was given.", "a bug in level 3"),
    "voided_at": ("Since when the score counts no more.", "2026-01-31T12:30:00.000000Z"),
    "voided_by": ("The admin who voided it.", MODERATOR_ID),
}
