"""Two applications in one process are independent."""

import pytest

from scoreboard.services import services
from tests.support import databases
from tests.support.local_subscribers import LocalSubscriber
from tests.support.servers import PASSWORD, SignedInUser


@pytest.fixture
def two_apps(make_app, tmp_path_factory):
    """Return two applications of this process, each with its own database."""
    urls = [databases.copied_sqlite(tmp_path_factory.mktemp("app")) for _ in range(2)]
    return [make_app(DATABASE_URL=url, AUTH_RATE_LIMIT="2/minute") for url in urls]


def register(app, name="ann"):
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    return app.test_client().post("/api/auth/register", json=body)


def post_score(app, user_id):
    """Sign in as this user and post a score."""
    client = app.test_client()
    body = {"username": "ann", "password": PASSWORD}
    token = client.post("/api/auth/login", json=body).json["access_token"]
    user = SignedInUser(user_id, token)
    return client.post("/api/score/update", json=user.update(7), headers=user.bearer)


def test_no_service_is_shared(two_apps):
    first, second = (vars(services(app)) for app in two_apps)

    assert first.keys() == second.keys()
    # `observe_attempt` is a function without state; no other issuer is set, so it is None.
    shared = [name for name in first if first[name] is second[name]]
    assert shared == ["issuer", "observe_attempt"]
    assert first["issuer"] is None


def test_an_update_reaches_only_its_own_leaderboard_subscribers_and_metrics(two_apps):
    first = two_apps[0]
    user_id = register(first).json["user_id"]
    received = []
    for app in two_apps:
        received.append(LocalSubscriber(app))

    assert post_score(first, user_id).status_code == 200

    boards = [app.test_client().get("/api/score/top10").json["top_10_scores"] for app in two_apps]
    assert [len(board) for board in boards] == [1, 0]
    assert [len(each.messages()) for each in received] == [2, 0]
    registries = [services(app).metrics.registry for app in two_apps]
    labels = {"code": "accepted"}
    counts = [each.get_sample_value("scoreboard_updates_total", labels) for each in registries]
    assert counts == [1, 0]
    # Registration, sign-in and update.
    assert [len(services(app).recent.lines()) for app in two_apps] == [3, 0]


def test_rate_limits_are_counted_separately(two_apps):
    first, second = two_apps

    assert [register(first, name).status_code for name in ("ann", "bob", "cat")] == [201, 201, 429]
    assert register(second).status_code == 201
