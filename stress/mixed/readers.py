"""Actors that only read: boards, places and histories, with ETags; and the health endpoints."""

import random

from .load import Actor


class Readers(Actor):
    """Requests a board, a place or a history, again with its ETag, and its next page."""

    every = 0.4

    def act(self):
        player = random.choice(self.world.players)
        path = random.choice(
            [
                "/api/score/top10",
                f"/api/leaderboard?limit={random.randint(1, 100)}",
                f"/api/leaderboard/users/{player.user_id}?around={random.randint(0, 50)}",
                f"/api/users/{player.user_id}/scores?limit={random.randint(1, 100)}",
            ]
        )
        answer = self.ask("a board", "GET", path, player.token)
        known = {"If-None-Match": answer.headers["ETag"]}
        self.ask("a board again", "GET", path, player.token, (200, 304), headers=known)
        cursor = answer.json().get("next")
        if cursor:
            query = {"cursor": cursor}
            self.ask("the next page", "GET", path, player.token, params=query)


class Operators(Actor):
    """Requests health, metrics and pages, like a platform, Prometheus and a browser."""

    every = 3.0
    PATHS = ("/healthz", "/readyz", "/metrics", "/", "/admin", "/docs", "/api/openapi.json")

    def act(self):
        path = random.choice(self.PATHS)
        self.ask(path, "GET", path)
