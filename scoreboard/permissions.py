"""Roles, their permissions, and the permission checks of an authenticated caller."""

from dataclasses import dataclass

# Every authorization check uses this one table.
ROLES: dict[str, frozenset[str]] = {
    "viewer": frozenset({"board:watch"}),
    "player": frozenset({"board:watch", "score:own"}),
    "scorer": frozenset({"board:watch", "score:any"}),
    "admin": frozenset({"board:watch", "score:any", "users:manage"}),
}


@dataclass(frozen=True)
class Caller:
    """The bearer of a valid access token.

    `user_id` is None for a public viewer token. Times are in seconds since the epoch.
    `token_ids` are the names under which the token can be revoked.
    """

    user_id: str | None
    role: str
    issued_at: float
    expires_at: float
    token_ids: tuple[str, ...]

    def may(self, permission: str) -> bool:
        """Whether the caller's role has this permission."""
        return permission in ROLES[self.role]

    def may_update(self, user_id: str) -> bool:
        """Whether the caller may change this user's score."""
        return self.may("score:any") or (self.may("score:own") and self.user_id == user_id)

    def may_see_history(self, user_id: str) -> bool:
        """Whether the caller may read this user's score history."""
        return self.may("score:any") or self.user_id == user_id
