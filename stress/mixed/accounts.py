"""Actors that register, sign in and out, and moderate."""

import random
import uuid

from tests.support.servers import PASSWORD

from .load import Actor


class Accounts(Actor):
    """Registers an account, signs in, refreshes and signs out, with errors in between."""

    every = 6.0

    def act(self):
        name = f"someone-{uuid.uuid4().hex[:12]}"
        account = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        self._auth("registering", "register", (201,), json=account)
        if random.random() < 0.2:
            self._auth("registering again", "register", (409,), json=account)
            self._sign_in(name, "wrong password", (401,))
        first = self._sign_in(name, PASSWORD, (200,)).json()
        second = self._auth("a refresh", "refresh", token=first["refresh_token"]).json()
        self.ask("me", "GET", "/api/auth/me", second["access_token"])
        if random.random() < 0.5:
            self._auth("a logout", "logout", (204,), token=second["access_token"])
        else:
            again = self._auth("the same refresh", "refresh", token=first["refresh_token"]).json()
            self._auth("a logout", "logout", (204,), token=again["refresh_token"])
        self.ask("me, after the end", "GET", "/api/auth/me", second["access_token"], (401,))

    def _sign_in(self, name, password, allowed):
        body = {"username": name, "password": password}
        return self._auth("signing in", "login", allowed, json=body)

    def _auth(self, what, path, allowed=(200,), token=None, **options):
        return self.ask(what, "POST", f"/api/auth/{path}", token, allowed, **options)


class Moderator(Actor):
    """An admin who reads the admin pages and moderates the users reserved for it."""

    every = 2.0

    def act(self):
        self._look()
        victim = random.choice(self.world.victims)
        acts = (self._hide, self._void, self._end_sessions, self._suspend, self._promote)
        random.choice(acts)(victim)

    def _look(self):
        for path in ("overview", "audit?after=0", "marks"):
            self.ask(f"admin {path}", "GET", f"/api/admin/{path}", self.world.admin.token)

    def _hide(self, victim):
        self._of_user(victim, "hide")
        self._of_user(victim, "restore")

    def _void(self, victim):
        receipt = self._update(victim, self.world.scorer.token, (200,)).json()
        for allowed in ((200,), (409,)):
            path, body = f"/api/admin/scores/{receipt['score_id']}/void", {"reason": "a test"}
            self.ask("a void", "POST", path, self.world.admin.token, allowed, json=body)

    def _end_sessions(self, victim):
        token = self.world.mint(victim)
        self._of_user(victim, "end-sessions")
        self._update(victim, token, (401,))

    def _suspend(self, victim):
        self._of_user(victim, "suspend")
        self._update(victim, self.world.mint(victim), (401,))
        self._of_user(victim, "reinstate")
        self._update(victim, self.world.mint(victim), (200,))

    def _promote(self, victim):
        for role in ("scorer", "player"):
            self._of_user(victim, "role", json={"role": role})

    def _of_user(self, victim, act, **options):
        path = f"/api/admin/users/{victim}/{act}"
        self.ask(f"admin {act}", "POST", path, self.world.admin.token, **options)

    def _update(self, victim, token, allowed):
        update = self.world.players[0].update(user_id=victim)
        return self.ask(
            "a victim's update", "POST", "/api/score/update", token, allowed, json=update
        )
