"""Actors that send invalid input by HTTP and WebSocket. All of it must be refused."""

import json
import random
import uuid

import websocket

from tests.support.subscribers import PATH

from .load import Actor
from .sockets import reset, status_of

NESTED = "[" * 20_000


class Nonsense(Actor):
    """Sends invalid requests and expects the status of each error."""

    every = 0.5

    def act(self):
        random.choice((self._body, self._token, self._bytes, self._path))()

    def _body(self):
        player = random.choice(self.world.players)
        good = player.update()
        body = random.choice(
            [
                "{",
                "",
                "null",
                NESTED,
                "x" * 70_000,
                json.dumps({**good, "score_value": True}),
                json.dumps({**good, "score_value": 1e300}),
                json.dumps({**good, "timestamp": "tomorrow"}),
                json.dumps({**good, "nonce": "no"}),
                json.dumps({"user_id": player.user_id}),
            ]
        )
        self._update("a bad body", player.token, 400, data=body)

    def _token(self):
        player, other = random.sample(self.world.players, 2)
        mint = self.world.mint
        token = random.choice(
            [
                None,
                "not.a.token",
                "é" * 10,
                "x" * 6000,
                other.token,
                mint(str(uuid.uuid4())),
                mint(player.user_id, key="k" * 48),
                mint(player.user_id, hours=-1),
                mint(player.user_id, type="refresh"),
            ]
        )
        self._update("a bad token", token and token.encode(), 401, json=player.update())

    def _update(self, what, token, status, **options):
        headers = {"Content-Type": "application/json"}
        if token:
            token = token if isinstance(token, bytes) else token.encode()
            headers["Authorization"] = b"Bearer " + token
        self.ask(what, "POST", "/api/score/update", None, (status,), headers=headers, **options)

    def _bytes(self):
        request = random.choice(
            [
                b"NONSENSE\r\n\r\n",
                b"GET /healthz HTTP/9.9\r\n\r\n",
                b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
                b"POST /api/score/update HTTP/1.1\r\nContent-Length: x\r\n\r\n",
                b"POST /api/score/update HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ]
        )
        status = status_of(self.world.port, request)
        self.notes.expect("bad bytes", status, (0, *range(400, 500), 505), request[:60])

    def _path(self):
        method, path, status = random.choice(
            [
                ("GET", "/nowhere", 404),
                ("DELETE", "/api/score/top10", 405),
                ("GET", f"{PATH}?token=none", 426),
                ("GET", f"{PATH}/?EIO=4&transport=polling&sid=none", 400),
                ("POST", f"{PATH}/?EIO=4&transport=polling", 400),
                ("GET", f"{PATH}/?EIO=4&transport=smoke", 400),
                ("GET", "/api/leaderboard?limit=x", 400),
                ("GET", "/api/leaderboard?cursor=x", 400),
                ("GET", "/api/leaderboard/users/nobody", 400),
                ("GET", f"/api/leaderboard/users/{uuid.uuid4()}", 404),
            ]
        )
        self.ask("a bad path", method, path, None, (status,))


class Malformed(Actor):
    """Sends malformed WebSocket frames and Socket.IO packets."""

    every = 1.5
    PACKETS = (
        "", "x", "4", "49", "42", "42{", '42["update_score"', "42[]", "42[7]", '42["other", 1]',
        '451-["update_score",{"_placeholder":true,"num":0}]', "43", "41", "40", "2", "6", "1",
        '421["update_score",null]', '42/other,["update_score",{}]', "4" + "x" * 70_000,
    )  # fmt: skip

    def act(self):
        plain = random.random() < 0.3
        token = random.choice(self.world.players).token
        address = self.world.url.replace("http", "ws", 1) + PATH
        address += f"?token={token}" if plain else "/?EIO=4&transport=websocket"
        opened = websocket.create_connection(address, timeout=5)
        opened.recv()
        if not plain and random.random() < 0.7:
            opened.send("40" + json.dumps({"token": token}))
            opened.recv()
        self._say_nonsense(opened)
        reset(opened.sock)

    def _say_nonsense(self, opened):
        self.notes.count("a malformed packet")
        try:
            way = random.randrange(4)
            if way == 0:
                opened.sock.sendall(random.randbytes(random.randint(1, 200)))
            elif way == 1:
                opened.send_binary(random.randbytes(50))
            else:
                opened.send(random.choice(self.PACKETS))
            opened.recv()
        except (websocket.WebSocketException, OSError):
            pass  # closed by the server, as expected, or no response
