"""The short way in answers as the routes do."""

import io
import json
import uuid

import pytest

from tests.support.tokens import mint

# A page of another origin takes the long way.
LONG_WAY = {"Origin": "https://elsewhere.example"}
GOOD = {"score_value": 7.5, "timestamp": "2026-01-01T00:00:00Z"}


def told(answer):
    """Return what an answer says, but for what no two have in common."""
    body = dict(answer.json)
    for name in ("score_id", "created_at"):
        body.pop(name, None)
    body.get("error", {}).pop("receipt", None)
    kept = {"Content-Type", "Retry-After"}
    return answer.status_code, body, {k: v for k, v in answer.headers.items() if k in kept}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"score_value": 1e300},
        {"score_value": float("nan")},
        {"timestamp": "2999-01-01T00:00:00Z"},
        {"user_id": "00000000-0000-4000-8000-000000000000"},
        {"extra": 1},
        {"\ud800": 1},
        {"nonce": "\ud800" * 8},
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'\xef\xbb\xbf{"score_value": 1}',
        b"[" * 100_000,
    ],
    ids=str,
)
def test_an_update_is_answered_alike(client, make_user, body):
    answers = []
    for way in ({}, LONG_WAY):
        scorer = make_user("scorer")
        sent = body
        if isinstance(body, dict):
            sent = json.dumps({"user_id": scorer.user_id, **GOOD, **body})
        headers = {**scorer.bearer, **way}
        answer = client.post("/api/score/update", data=sent, headers=headers)
        answers.append(json.loads(json.dumps(told(answer)).replace(scorer.user_id, "the user")))

    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic eDp5", "bearer {token}", "Bearer  {token} "]
)
def test_a_token_is_read_alike(client, player, authorization):
    headers = {"Authorization": authorization.format(token=player.token)}

    answers = [
        client.post("/api/score/update", json=player.update(1), headers={**headers, **way})
        for way in ({}, LONG_WAY)
    ]

    if answers[0].status_code == 200:
        assert answers[1].json["error"]["code"] == "replayed"
    else:
        assert told(answers[0]) == told(answers[1])


def test_who_may_not_update_is_told_alike(client, player, make_user):
    other = make_user()

    answers = [
        client.post("/api/score/update", json=other.update(1), headers={**player.bearer, **way})
        for way in ({}, LONG_WAY)
    ]

    assert told(answers[0]) == told(answers[1])
    assert answers[0].status_code == 401


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/hour"}])
def test_a_limit_counts_both_ways_together(client, player):
    codes = [
        client.post(
            "/api/score/update",
            json=player.update(number, nonce=uuid.uuid4().hex),
            headers={**player.bearer, **way},
        )
        for number, way in enumerate([{}, LONG_WAY, {}])
    ]

    assert [answer.status_code for answer in codes] == [200, 429, 429]
    assert told(codes[1]) == told(codes[2])
    assert int(codes[1].headers["Retry-After"]) > 0


def test_the_top_10_is_answered_alike(client, player):
    client.post("/api/score/update", json=player.update(12), headers=player.bearer)

    short, long = client.get("/api/score/top10"), client.get("/api/score/top10", headers=LONG_WAY)

    assert told(short) == told(long)
    assert short.json == {"top_10_scores": [{"user_id": player.user_id, "score": 12}]}


@pytest.mark.parametrize("settings", [{"CORS_ORIGINS": LONG_WAY["Origin"]}])
def test_a_page_of_an_allowed_origin_may_read_the_answers(client, player):
    headers = {**player.bearer, **LONG_WAY}

    answers = [
        client.post("/api/score/update", json=player.update(12), headers=headers),
        client.get("/api/score/top10", headers=LONG_WAY),
    ]

    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == LONG_WAY["Origin"]


def test_other_methods_are_refused_as_ever(client):
    answers = [client.get("/api/score/update"), client.delete("/api/score/top10")]

    assert [answer.status_code for answer in answers] == [405, 405]
    assert client.head("/api/score/top10").status_code == 200


def test_a_body_in_chunks_is_read(client, player):
    body = [b'{"user_id": "%s", "score_value": 3, ' % player.user_id.encode()]
    body.append(b'"timestamp": "2026-01-01T00:00:00Z"}')

    answer = client.post(
        "/api/score/update",
        input_stream=io.BytesIO(b"".join(body)),
        headers={**player.bearer, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (answer.status_code, answer.json.get("score")) == (200, 3)


class Lost:
    """A body whose client has gone before the end of it."""

    def read(self, *length):
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (Lost, "10"),
        (lambda: io.BytesIO(b'{"user_id": '), "100"),
        (lambda: io.BytesIO(b"{}"), "100"),
        (lambda: io.BytesIO(b"{}"), "9" * 5000),
        (lambda: io.BytesIO(b"{}"), "-2"),
        (lambda: io.BytesIO(b"{}"), "two"),
    ],
    ids=["lost", "half", "whole, but shorter", "endless", "negative", "no number"],
)
def test_a_body_that_does_not_come_as_announced_is_no_body(
    client, player, unforeseen, body, length
):
    answers = [
        client.post(
            "/api/score/update",
            headers={**player.bearer, **way},
            environ_overrides={"wsgi.input": body(), "CONTENT_LENGTH": length},
        )
        for way in ({}, LONG_WAY)
    ]

    assert told(answers[0]) == told(answers[1])
    assert answers[0].json["error"]["code"] == "invalid_json"
    assert unforeseen == []


def test_a_body_too_large_for_any_update_is_refused_alike(client, scorer):
    headers = {"Authorization": f"Bearer {mint(scorer.user_id)}"}

    answers = [
        client.post("/api/score/update", data=b"x" * 100_000, headers={**headers, **way})
        for way in ({}, LONG_WAY)
    ]

    assert told(answers[0]) == told(answers[1])
    assert answers[0].json["error"]["code"] == "invalid_json"
