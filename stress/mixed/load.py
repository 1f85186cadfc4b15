"""Run the actors of the mixed load, with shared users, and record unexpected responses."""

import json
import random
import threading
import time
import traceback
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta

import jwt
import requests

from tests.support.servers import SECRETS

SECONDS = 20  # timeout of a response
PLAYERS, VICTIMS, CHECKED = 60, 10, 30


class World:
    """The server and its users. Tokens are signed here, as by an external sign-in service."""

    def __init__(self, server):
        self.url, self.port = server.url, server.port
        ids = json.loads(server.flask("users", "seed", str(PLAYERS + VICTIMS + CHECKED)))
        self.players = [Player(user_id, self.mint(user_id)) for user_id in ids[:PLAYERS]]
        # Only the moderator uses these.
        self.victims = ids[PLAYERS : PLAYERS + VICTIMS]
        # Only the workload updates these: the history checker must know every update.
        self.checked = ids[PLAYERS + VICTIMS :]
        self.scorer, self.admin = server.user("scorer", "scorer"), server.user("warden", "admin")
        self.scorer.token = self.mint(self.scorer.user_id, "scorer")
        self.admin.token = self.mint(self.admin.user_id, "admin")
        for player in self.players:
            status, told = server.send(player.token, player.update())
            assert status == 200, told
        server.connection.close()

    def mint(self, user_id, role="player", key=SECRETS["JWT_SECRET_KEY"], hours=6, **claims):
        now = datetime.now(UTC)
        whole = {
            "sub": user_id,
            "role": role,
            "type": "access",
            "jti": uuid.uuid4().hex,
            "iat": now.timestamp(),
            "exp": now + timedelta(hours=hours),
            **claims,
        }
        return jwt.encode(whole, key, "HS256")


class Player:
    """A user that updates its own score."""

    def __init__(self, user_id, token):
        self.user_id, self.token = user_id, token

    def update(self, **more):
        return {
            "user_id": self.user_id,
            "score_value": random.randrange(1_000_000),
            "timestamp": datetime.now(UTC).isoformat(),
            "nonce": uuid.uuid4().hex,
            **more,
        }


class Notes:
    """Counts of actions by outcome, and descriptions of unexpected responses. Thread-safe."""

    def __init__(self):
        self.counts, self.unexpected = Counter(), []
        self._lock = threading.Lock()

    def count(self, what, times=1):
        with self._lock:
            self.counts[what] += times

    def expect(self, what, status, allowed, told=""):
        self.count(f"{what}: {status}")
        if status not in allowed:
            self.complain(f"{what} was answered {status}, not {allowed}: {told}")

    def complain(self, what):
        with self._lock:
            self.unexpected.append(what)


class Actor:
    """Base class of actors: acts every `every` seconds on average, in its own thread."""

    every = 1.0

    def __init__(self, world, notes):
        self.world, self.notes = world, notes
        self.http = requests.Session()

    def act(self):
        """Do one action and record its outcome."""
        raise NotImplementedError

    def close(self):
        """Close all connections of this actor."""
        self.http.close()

    def ask(self, what, method, path, token=None, allowed=(200,), **options):
        """Send a request and return the response; a status not in `allowed` is recorded."""
        headers = options.pop("headers", {})
        if token:
            headers["Authorization"] = f"Bearer {token}"
        answer = self.http.request(
            method, self.world.url + path, headers=headers, timeout=SECONDS, **options
        )
        self.notes.expect(what, answer.status_code, allowed, answer.text[:300])
        return answer


class Load:
    """Runs one actor of each class in `actors`, each in a thread."""

    def __init__(self, world, notes, actors):
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(actor(world, notes), notes), daemon=True)
            for actor in actors
        ]

    def run(self, seconds):
        """Run the actors for `seconds`, then stop and close them. Blocks."""
        for thread in self._threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        deadline = time.monotonic() + 2 * SECONDS
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
            assert not thread.is_alive(), "an actor does not end"

    def _run(self, actor, notes):
        while not self._over.wait(random.expovariate(1 / actor.every)):
            try:
                actor.act()
            except Exception:
                notes.complain(f"{type(actor).__name__}: {traceback.format_exc()}")
        actor.close()
