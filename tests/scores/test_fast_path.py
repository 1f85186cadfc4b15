"""The fast path and the Flask routes send the same responses."""

import io
import json

import pytest

# Requests of pages from another origin are served by Flask.
BY_FLASK = {"Origin": "https://elsewhere.example"}
BOTH = ({}, BY_FLASK)
URL = "/api/score/update"
VALID = {"score_value": 7.5, "timestamp": "2026-01-01T00:00:00Z"}


def comparable(response):
    """Return the response without what differs between any two."""
    body = dict(response.json)
    for name in ("score_id", "created_at"):
        body.pop(name, None)
    body.get("error", {}).pop("receipt", None)
    headers = {name: response.headers.get(name) for name in ("Content-Type", "Retry-After")}
    return response.status_code, body, headers


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
        b"x" * 100_000,
    ],
    ids=lambda body: str(body)[:40],
)
def test_any_body_has_the_same_response(client, make_user, body):
    found = []
    for headers in BOTH:
        scorer = make_user("scorer")
        data = body
        if isinstance(body, dict):
            data = json.dumps({"user_id": scorer.user_id, **VALID, **body})
        response = client.post(URL, data=data, headers={**scorer.bearer, **headers})
        found.append(json.loads(json.dumps(comparable(response)).replace(scorer.user_id, "user")))

    assert found[0] == found[1]


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer x", "Basic eDp5", "bearer {token}", "Bearer  {token} "]
)
def test_any_token_has_the_same_response(client, player, authorization):
    headers = {"Authorization": authorization.format(token=player.token)}

    found = [
        client.post(URL, json=player.update(n), headers={**headers, **each})
        for n, each in enumerate(BOTH)
    ]

    assert found[0].status_code == (200 if "{token}" in authorization else 401)
    assert {**comparable(found[0])[1], "score": None} == {**comparable(found[1])[1], "score": None}


def test_an_update_that_is_not_permitted_has_the_same_response(client, player, make_user):
    update = make_user().update(1)

    found = [client.post(URL, json=update, headers={**player.bearer, **each}) for each in BOTH]

    assert comparable(found[0]) == comparable(found[1])
    assert found[0].status_code == 401


@pytest.mark.parametrize("settings", [{"SCORE_RATE_LIMIT": "1/hour"}])
def test_both_count_against_one_limit(client, player):
    found = [
        client.post(URL, json=player.update(number), headers={**player.bearer, **each})
        for number, each in enumerate([*BOTH, {}])
    ]

    assert [response.status_code for response in found] == [200, 429, 429]
    assert comparable(found[1]) == comparable(found[2])
    assert int(found[1].headers["Retry-After"]) > 0


def test_the_top_10_has_the_same_response(client, player):
    client.post(URL, json=player.update(12), headers=player.bearer)

    fast, by_flask = (client.get("/api/score/top10", headers=each) for each in BOTH)

    assert comparable(fast) == comparable(by_flask)
    assert fast.json == {"top_10_scores": [{"user_id": player.user_id, "score": 12}]}
    assert client.head("/api/score/top10").status_code == 200


def test_a_chunked_body_is_read(client, player):
    response = client.post(
        URL,
        input_stream=io.BytesIO(json.dumps(player.update(3)).encode()),
        headers={**player.bearer, "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    assert (response.status_code, response.json.get("score")) == (200, 3)


class Disconnected:
    """A body whose client disconnects before its end."""

    def read(self, *length):
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("make_body", "length"),
    [
        (lambda: io.BytesIO(b'{"user_id": '), "100"),
        *((lambda: io.BytesIO(b"{}"), length) for length in ("100", "9" * 5000, "-2", "two")),
        (Disconnected, "10"),
    ],
    ids=["partial", "shorter", "endless", "negative", "not a number", "disconnected"],
)
def test_a_body_that_differs_from_its_length_is_invalid(
    client, player, unexpected_errors, make_body, length
):
    found = [
        client.post(
            URL,
            headers={**player.bearer, **each},
            environ_overrides={"wsgi.input": make_body(), "CONTENT_LENGTH": length},
        )
        for each in BOTH
    ]

    assert comparable(found[0]) == comparable(found[1])
    assert found[0].json["error"]["code"] == "invalid_json"
    assert unexpected_errors == []
