"""Who is refused again and again has to wait for the next refusal, and nobody else has to."""

import json
from types import SimpleNamespace

import pytest
from flask import request, request_started

from scoreboard.activity import pace
from scoreboard.activity.pace import FREE_A_SECOND, LONGEST_SECONDS, MOST_HELD, ONE_BYTES, Pace


@pytest.fixture
def clock(monkeypatch):
    """Return the time, which passes by sleeping alone: `slept` has for how long."""
    clock = SimpleNamespace(now=1000.0, slept=[])

    def sleep(seconds):
        clock.slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))
    return clock


def test_a_few_refusals_cost_nobody_a_wait(clock):
    pace = Pace()

    for _ in range(FREE_A_SECOND):
        pace.refuse("a", 0)

    assert clock.slept == []


def test_more_of_them_come_at_a_steady_pace(clock):
    pace = Pace()

    for _ in range(FREE_A_SECOND * 3):
        pace.refuse("a", 0)

    assert clock.now == pytest.approx(1002.0)


def test_what_is_large_counts_for_several(clock):
    pace = Pace()

    for _ in range(FREE_A_SECOND // 5 * 2):
        pace.refuse("a", 4 * ONE_BYTES)

    assert clock.now == pytest.approx(1001.0)


def test_who_was_refused_too_much_by_far_owes_no_more_than_the_longest_wait(clock, monkeypatch):
    monkeypatch.setattr(pace.time, "sleep", clock.slept.append)  # as if all came at once
    paced = Pace()
    for _ in range(FREE_A_SECOND * 10):
        paced.refuse("a", 64 * ONE_BYTES)

    clock.now += LONGEST_SECONDS + 1
    before = len(clock.slept)
    for _ in range(FREE_A_SECOND):
        paced.refuse("a", 0)

    assert len(clock.slept) == before


def test_nobody_waits_for_the_refusals_of_another_address(clock):
    pace = Pace()
    for _ in range(FREE_A_SECOND * 2):
        pace.refuse("a", 0)
    before = clock.now

    pace.refuse("b", 0)

    assert clock.now == before


def test_those_at_the_same_time_wait_no_longer_than_the_longest(clock, monkeypatch):
    monkeypatch.setattr(pace.time, "sleep", clock.slept.append)  # as if all came at once
    paced = Pace()

    for _ in range(FREE_A_SECOND * 10):
        paced.refuse("a", 0)

    assert max(clock.slept) == LONGEST_SECONDS


def test_no_more_than_so_many_are_held_at_a_time(clock, monkeypatch):
    paced = Pace()
    held = []

    def sleep(seconds):
        held.append(seconds)
        paced.refuse("a", 0)  # one more comes while this one waits

    monkeypatch.setattr(pace, "MOST_HELD", 20)
    monkeypatch.setattr(pace.time, "sleep", sleep)
    for _ in range(FREE_A_SECOND + 1):
        paced.refuse("a", 0)

    assert MOST_HELD > 20
    assert len(held) == 20


def test_an_address_is_slowed_while_its_refusals_have_to_wait_and_no_other(clock):
    paced = Pace()
    assert not paced.is_slowed("a")
    for _ in range(FREE_A_SECOND + 1):
        paced.refuse("a", 0)
    clock.now -= 0.001

    assert paced.is_slowed("a")
    assert not paced.is_slowed("b")
    clock.now += 0.002
    assert not paced.is_slowed("a")


LOGIN = {"username": "x", "password": "y"}


class TestWhoIsAtALimit:
    """Is told so again for a second, without anybody looking."""

    @pytest.fixture
    def settings(self):
        return {"AUTH_RATE_LIMIT": "1/minute"}

    @pytest.fixture
    def looked_at(self, app):
        """Return the paths of the requests that Flask has to look at, as they come."""
        looked_at = []

        def look(sender):
            looked_at.append(request.path)

        with request_started.connected_to(look, app):
            yield looked_at

    def login(self, client, **options):
        return client.post("/api/auth/login", json=LOGIN, **options)

    def test_is_answered_the_same_without_being_looked_at(self, client, looked_at):
        self.login(client)
        limited = self.login(client)
        before = len(looked_at)

        again = self.login(client)

        assert len(looked_at) == before
        assert (again.status_code, again.json) == (limited.status_code, limited.json)
        assert again.headers["Retry-After"] == limited.headers["Retry-After"]

    @pytest.mark.parametrize("settings", [{"LOGIN_RATE_LIMIT": "1/minute"}])
    def test_is_looked_at_if_the_limit_is_not_of_the_address_alone(self, client, looked_at):
        self.login(client)
        limited = self.login(client)
        before = len(looked_at)

        another = client.post("/api/auth/login", json={**LOGIN, "username": "y"})

        assert len(looked_at) == before + 1
        assert (limited.status_code, another.status_code) == (429, 401)

    def test_is_looked_at_after_a_second(self, client, looked_at, clock):
        self.login(client)
        self.login(client)
        before = len(looked_at)

        clock.now += 1
        self.login(client)

        assert len(looked_at) == before + 1

    @pytest.mark.parametrize(
        "other",
        [
            {"path": "/api/auth/viewer"},
            {"environ_base": {"REMOTE_ADDR": "127.0.0.2"}},
            {"headers": {"Origin": "http://localhost"}},
        ],
        ids=lambda other: next(iter(other)),
    )
    def test_only_there_and_from_that_address(self, client, looked_at, other):
        self.login(client)
        self.login(client)
        before = len(looked_at)

        client.post(**{"path": "/api/auth/login", "json": LOGIN, **other})

        assert len(looked_at) == before + 1


class TestWhoIsCounted:
    @pytest.fixture
    def refusals(self, app, monkeypatch):
        """Return the addresses and the sizes of the refusals, as they come."""
        refusals = SimpleNamespace(addresses=[], sizes=[])

        def refuse(address, size):
            refusals.addresses.append(address)
            refusals.sizes.append(size)

        monkeypatch.setattr(app.extensions["pace"], "refuse", refuse)
        return refusals

    @pytest.fixture
    def session(self, app):
        """Return what sends packets by a polling session."""
        app.extensions["connections"].when_first(lambda: None)  # the keeper, for good
        client = app.test_client()
        url = "/ws/scoreboard/?EIO=4&transport=polling"
        url += f"&sid={json.loads(client.get(url).text[1:])['sid']}"
        return SimpleNamespace(
            send=lambda packets: client.post(url, data=packets), get=lambda: client.get(url).text
        )

    def test_a_refused_request_is(self, client, refusals, player):
        client.post("/api/score/update", json={}, headers=player.bearer)
        client.get("/api/auth/me")
        client.get("/nowhere")

        assert refusals.addresses == ["127.0.0.1"] * 3

    def test_a_refused_sign_in_is_with_all_the_others_wherever_they_come_from(
        self, client, refusals
    ):
        for address in ("10.0.0.1", "10.0.0.2"):
            environ = {"REMOTE_ADDR": address}
            client.post("/api/auth/login", json={}, environ_overrides=environ)

        assert refusals.addresses[0::2] == ["10.0.0.1", "10.0.0.2"]
        assert refusals.addresses[1] == refusals.addresses[3]

    def test_a_refused_sign_in_is_with_the_others_as_one_whatever_its_size(self, client, refusals):
        client.post("/api/auth/login", data=b"x" * 5000)

        assert refusals.sizes == [5000, 0]

    def test_a_refused_request_by_its_body_as_far_as_that_is_read(self, app, client, refusals):
        longest = app.config["MAX_CONTENT_LENGTH"]
        for size in (0, 5000, longest * 2):
            client.post("/api/score/update", data=b"x" * size)

        assert refusals.sizes == [0, 5000, longest]

    @pytest.mark.parametrize("length", ["x", "-1", "1e3", "9" * 5000])
    def test_a_length_that_is_none_is_none(self, client, refusals, length):
        client.get("/nowhere", environ_base={"CONTENT_LENGTH": length})

        assert refusals.sizes == [0]

    def test_a_refused_packet_by_its_length(self, session, refusals):
        session.send("40" + json.dumps({"token": "x" * 5000}))

        assert refusals.sizes == [len('0{"token": ""}') + 5000]

    def test_an_answered_one_is_not(self, client, refusals, player):
        client.post("/api/score/update", json=player.update(1), headers=player.bearer)
        client.get("/api/score/top10")

        assert refusals.addresses == []

    @pytest.mark.parametrize("packet", ['40{"token":"x"}', "40", '42["update_score",{}]'])
    def test_a_packet_of_one_who_is_not_connected_is(self, session, refusals, packet):
        session.send(packet)

        assert refusals.addresses == ["127.0.0.1"]

    def test_connecting_and_updating_are_not(self, session, refusals, player):
        session.send(f'40{{"token":"{player.token}"}}')
        session.send(f'42["update_score",{json.dumps(player.update(1))}]')

        assert refusals.addresses == []

    @pytest.mark.parametrize("packet", ["40", '42["other"]', "41"])
    def test_a_packet_that_asks_for_nothing_is(self, session, refusals, player, packet):
        session.send(f'40{{"token":"{player.token}"}}')

        session.send(packet)

        assert refusals.addresses == ["127.0.0.1"]

    def test_a_refused_update_is_at_the_latest_when_the_next_is_read(
        self, session, refusals, player
    ):
        session.send(f'40{{"token":"{player.token}"}}')
        assert session.get().startswith("40{")
        session.send('421["update_score",{}]')
        assert "invalid_input" in session.get()

        session.send(f'42["update_score",{json.dumps(player.update(1))}]')

        assert refusals.addresses == ["127.0.0.1"]
