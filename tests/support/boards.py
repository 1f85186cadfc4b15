"""A server with several boards, and users that change them."""

import itertools
from datetime import UTC, datetime, timedelta

import requests

from tests.support.servers import Server

START = datetime(2026, 1, 1, tzinfo=UTC)


class Boards:
    """The boards of a server. Scores have later timestamps than those before."""

    def __init__(self, server: Server) -> None:
        self.server, self.url = server, server.url
        self.admin, self.game = server.user("Boss", "admin"), server.user("Game", "scorer")
        self.users: dict = {}
        self._numbers = itertools.count(1)

    def create(self, board_id: str, title: str, **settings: object) -> str:
        """Create a board and return its id."""
        body = {"board_id": board_id, "title": title, **settings}
        return self.send("POST", "boards", body)["board_id"]

    def change(self, board_id: str, **settings: object) -> dict:
        return self.send("PATCH", f"boards/{board_id}", settings)

    def end_season(self, board_id: str) -> None:
        self.send("POST", f"boards/{board_id}/seasons")

    def archive(self, board_id: str) -> None:
        self.send("DELETE", f"boards/{board_id}")

    def send(self, method: str, path: str, body: object = None) -> dict:
        """Send a request of the admin, which must succeed."""
        url = f"{self.url}/api/admin/{path}"
        response = requests.request(method, url, json=body, headers=self.admin.bearer, timeout=10)
        assert response.ok, response.text
        return response.json() if response.content else {}

    def post(self, name: str, score: float, board: str = "main") -> None:
        """Post a score of a user, who is created if necessary."""
        if name not in self.users:
            self.users[name] = self.server.user(name)
        moment = START + timedelta(seconds=next(self._numbers))
        update = self.users[name].update(score, moment.isoformat(), board=board)
        response = self.server.post(self.game.token, update)
        assert response.status_code == 200, response.text

    def page(self, board_id: str, more: str = "") -> str:
        return f"{self.url}/?board={board_id}{more}"
