"""Who is refused again and again has to wait for the next refusal, and nobody else has to."""

import json
from types import SimpleNamespace

import pytest

from scoreboard.activity import pace
from scoreboard.activity.pace import FREE_A_SECOND, LONGEST_SECONDS, MOST_HELD, Pace


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
        pace.refuse("a")

    assert clock.slept == []


def test_more_of_them_come_at_a_steady_pace(clock):
    pace = Pace()

    for _ in range(FREE_A_SECOND * 3):
        pace.refuse("a")

    assert clock.now == pytest.approx(1002.0)


def test_nobody_waits_for_the_refusals_of_another_address(clock):
    pace = Pace()
    for _ in range(FREE_A_SECOND * 2):
        pace.refuse("a")
    before = clock.now

    pace.refuse("b")

    assert clock.now == before


def test_those_at_the_same_time_wait_no_longer_than_the_longest(clock, monkeypatch):
    monkeypatch.setattr(pace.time, "sleep", clock.slept.append)  # as if all came at once
    paced = Pace()

    for _ in range(FREE_A_SECOND * 10):
        paced.refuse("a")

    assert max(clock.slept) == LONGEST_SECONDS


def test_no_more_than_so_many_are_held_at_a_time(clock, monkeypatch):
    paced = Pace()
    held = []

    def sleep(seconds):
        held.append(seconds)
        paced.refuse("a")  # one more comes while this one waits

    monkeypatch.setattr(pace, "MOST_HELD", 20)
    monkeypatch.setattr(pace.time, "sleep", sleep)
    for _ in range(FREE_A_SECOND + 1):
        paced.refuse("a")

    assert MOST_HELD > 20
    assert len(held) == 20


class TestWhoIsCounted:
    @pytest.fixture
    def refusals(self, app, monkeypatch):
        """Return the addresses of the refusals, as they come."""
        refusals = []
        monkeypatch.setattr(app.extensions["pace"], "refuse", refusals.append)
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

        assert refusals == ["127.0.0.1"] * 3

    def test_an_answered_one_is_not(self, client, refusals, player):
        client.post("/api/score/update", json=player.update(1), headers=player.bearer)
        client.get("/api/score/top10")

        assert refusals == []

    @pytest.mark.parametrize("packet", ['40{"token":"x"}', "40", '42["update_score",{}]'])
    def test_a_packet_of_one_who_is_not_connected_is(self, session, refusals, packet):
        session.send(packet)

        assert refusals == ["127.0.0.1"]

    def test_connecting_and_updating_are_not(self, session, refusals, player):
        session.send(f'40{{"token":"{player.token}"}}')
        session.send(f'42["update_score",{json.dumps(player.update(1))}]')

        assert refusals == []

    @pytest.mark.parametrize("packet", ["40", '42["other"]', "41"])
    def test_a_packet_that_asks_for_nothing_is(self, session, refusals, player, packet):
        session.send(f'40{{"token":"{player.token}"}}')

        session.send(packet)

        assert refusals == ["127.0.0.1"]

    def test_a_refused_update_is_at_the_latest_when_the_next_is_read(
        self, session, refusals, player
    ):
        session.send(f'40{{"token":"{player.token}"}}')
        assert session.get().startswith("40{")
        session.send('421["update_score",{}]')
        assert "invalid_input" in session.get()

        session.send(f'42["update_score",{json.dumps(player.update(1))}]')

        assert refusals == ["127.0.0.1"]
