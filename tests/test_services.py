"""Two applications in one process are independent."""

import pytest

from scoreboard.services import services
from tests.support import databases


@pytest.fixture
def two(make_app, tmp_path_factory):
    """Return two applications of this process, each with its own database."""
    urls = [databases.copied_sqlite(tmp_path_factory.mktemp("app")) for _ in range(2)]
    return [make_app(DATABASE_URL=url, AUTH_RATE_LIMIT="2/minute") for url in urls]


def register(app, name="ann"):
    body = {"username": name, "email": f"{name}@example.com", "password": "correct horse"}
    return app.test_client().post("/api/auth/register", json=body)


def token_of(app, name="ann"):
    body = {"username": name, "password": "correct horse"}
    return app.test_client().post("/api/auth/login", json=body).json["access_token"]


def post_score(app, user_id, token):
    body = {"user_id": user_id, "score_value": 7, "timestamp": "2026-01-01T00:00:00Z"}
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client().post("/api/score/update", json=body, headers=headers)


def test_no_service_is_shared(two):
    first, second = (vars(services(app)) for app in two)

    assert first.keys() == second.keys()
    assert [name for name in first if first[name] is second[name] and callable(first[name])] == [
        "observe_attempt"  # a function without state
    ]
    assert [name for name in first if first[name] is second[name]] == ["observe_attempt"]


def test_an_update_reaches_only_its_own_leaderboard_subscribers_and_metrics(two):
    first, second = two
    user_id = register(first).json["user_id"]
    received = {first: [], second: []}
    for app, messages in received.items():
        services(app).subscribers.deliver = messages.append
        services(app).feed._deliver = messages.append
        with app.app_context():
            services(app).feed.catch_up()
        messages.clear()

    assert post_score(first, user_id, token_of(first)).status_code == 200

    boards = [app.test_client().get("/api/score/top10").json["top_10_scores"] for app in two]
    assert [len(board) for board in boards] == [1, 0]
    assert [len(messages) for messages in received.values()] == [1, 0]
    counts = [
        services(app).metrics.registry.get_sample_value(
            "scoreboard_updates_total", {"code": "accepted"}
        )
        for app in two
    ]
    assert counts == [1, 0]
    lines = [services(app).recent.lines() for app in two]
    assert len(lines[0]) == 3  # registration, sign-in, update
    assert lines[1] == []


def test_rate_limits_are_counted_apart(two):
    first, second = two
    statuses = [register(first, name).status_code for name in ("ann", "bob", "cat")]

    assert statuses == [201, 201, 429]
    assert register(second).status_code == 201
