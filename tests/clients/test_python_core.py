"""The decisions of the Python client: when to try again, when to stop, what is an error."""

import itertools
import math
from datetime import UTC, datetime

import pytest

from scoreboard_client import (
    Invalid,
    NotFound,
    RateLimited,
    Receipt,
    Scoreboard,
    ScoreboardError,
    Unavailable,
    Update,
)
from scoreboard_client.core import Authorize, Core, Request, Wait, fresh_for
from scoreboard_client.errors import read_response, unreachable
from tests.support.tokens import mint

RECEIPT = {
    "user_id": "a-user",
    "score": 5,
    "score_id": "an-id",
    "created_at": "2026-01-01T00:00:00Z",
    "applied": True,
    "board": "main",
    "season": 1,
}
LIMITED = RateLimited("m", "rate_limited", 429, retry_after=7)
FAILED = Unavailable("m", "server_error", 500)
NOT_REACHED = unreachable(OSError("no route"))


def new_core(timeout=30):
    return Core(mint("a-user"), None, lambda token: None, timeout)


def run(core, flow, responses):
    """Run a flow with these responses to its requests; return its result and the steps."""
    steps, result = [], None
    responses = iter(responses)
    while True:
        try:
            step = flow.send(result)
        except StopIteration as end:
            return end.value, steps
        result = None
        if isinstance(step, Authorize):
            result, _ = run(core, core.token(step.refused), ())
            continue
        steps.append(step)
        if isinstance(step, Request):
            result = next(responses)


@pytest.mark.parametrize("error", [LIMITED, FAILED, NOT_REACHED], ids=lambda error: error.code)
def test_an_update_is_sent_again_unchanged_after_a_temporary_error(error):
    core = new_core()

    receipt, (first, wait, second) = run(core, core.submit(Update(5)), [error, RECEIPT])

    assert receipt.score == 5
    assert first == second
    assert wait.seconds >= error.retry_after


def test_delays_grow_to_a_limit():
    core = new_core(timeout=1000)

    _, steps = run(core, core.submit(Update(5)), [*[FAILED] * 30, RECEIPT])

    waits = [step.seconds for step in steps if isinstance(step, Wait)]
    assert waits[0] <= 0.5
    assert all(2.5 <= wait <= 5 for wait in waits[4:])


def test_a_retry_after_the_timeout_is_not_awaited():
    core, update = new_core(timeout=5), Update(5)

    with pytest.raises(RateLimited) as limited:
        run(core, core.submit(update), [LIMITED])

    assert (limited.value.retry_after, limited.value.update) == (7, update)


def test_a_final_error_is_not_retried():
    core = new_core()

    with pytest.raises(Invalid):
        run(core, core.submit(Update(5)), [Invalid("m", "board_closed", 400)])


def test_only_the_updates_that_may_still_succeed_are_sent_again():
    core = new_core()
    updates = [Update(value, user_id="a-user") for value in range(3)]
    good = {"status": 200, "body": RECEIPT}
    limited = {"status": 429, "body": error_body("rate_limited"), "retry_after": 2}
    closed = {"status": 400, "body": error_body("board_closed")}
    responses = [{"results": [limited, closed, limited]}, {"results": [good, good]}]

    results, (first, wait, second) = run(core, core.submit_batch(updates), responses)

    assert [type(result) for result in results] == [Receipt, Invalid, Receipt]
    assert wait.seconds >= 2
    sent = first.body["updates"]
    assert second.body["updates"] == [sent[0], sent[2]]


def test_a_long_list_is_sent_in_several_batches():
    core = new_core()
    updates = [Update(value, user_id="a-user") for value in range(501)]
    responses = [{"results": [{"status": 200, "body": RECEIPT}] * count} for count in (500, 1)]

    results, steps = run(core, core.submit_batch(updates), responses)

    assert len(results) == 501
    assert [len(step.body["updates"]) for step in steps] == [500, 1]


def test_each_update_has_a_later_timestamp_and_its_own_nonce():
    updates = [Update(1) for _ in range(1000)]

    assert all(a.timestamp < b.timestamp for a, b in itertools.pairwise(updates))
    assert len({update.nonce for update in updates}) == 1000


def test_a_timestamp_is_sent_in_utc():
    update = Update(1, timestamp=datetime(2026, 1, 2, tzinfo=UTC).astimezone())

    assert update.body("a-user")["timestamp"] == "2026-01-02T00:00:00+00:00"


@pytest.mark.parametrize(("lifetime", "fresh"), [(900, 870), (100, 90)])
def test_a_token_is_renewed_before_its_end(lifetime, fresh):
    assert fresh_for(mint("a-user", iat=1000, exp=1000 + lifetime)) == fresh


@pytest.mark.parametrize("token", ["", "a.b.c", "a.bm90IGpzb24.c", "no-jwt"])
def test_a_text_that_is_no_token_is_used_until_it_is_refused(token):
    assert fresh_for(token) == math.inf


def error_body(code, **more):
    return {"error": {"code": code, "message": "m", **more}}


OVERLOADED = b'{"error": {"code": "overloaded", "message": "m"}}'
DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("response", "kind", "code", "retry_after"),
    [
        ((502, b"<html>", None), Unavailable, "unexpected_response", 0),
        (
            (503, b'{"error": {"code": "overloaded", "message": "m"}}', "3"),
            Unavailable,
            "overloaded",
            3,
        ),
        (
            (429, b"slow down", "Wed, 21 Oct 2026 07:28:00 GMT"),
            RateLimited,
            "unexpected_response",
            0,
        ),
        ((200, b"<html>", None), ScoreboardError, "unexpected_response", 0),
        ((301, b"", None), ScoreboardError, "unexpected_response", 0),
        ((404, b"[]", None), NotFound, "unexpected_response", 0),
    ],
)
def test_a_response_that_is_no_success_is_an_error(response, kind, code, retry_after):
    error = read_response(*response)

    assert type(error) is kind
    assert (error.code, error.retry_after, error.status) == (code, retry_after, response[0])


def test_a_url_without_http_is_refused():
    with pytest.raises(ValueError, match="localhost:5000"):
        Scoreboard("localhost:5000")


def test_a_closed_client_sends_nothing():
    client = Scoreboard("http://127.0.0.1:9", timeout=0)
    client.close()

    with pytest.raises(ScoreboardError, match="closed"):
        client.top10()
