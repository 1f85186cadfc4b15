"""The requests of deliveries: their signatures, and messages in words."""

import base64
import hashlib
import hmac
import json

import pytest

from scoreboard.webhooks import messages

# The example of the reference implementation of Standard Webhooks, also used in its tests.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

NAME = "<!here> *a* @everyone & [x](https://evil.example)"
LEADER = {"user_id": "u", "username": NAME, "score": 83_456}
OF_BOARD = {"board": "run", "title": "Run & jump", "format": "time"}


def payload(kind, **data):
    return json.dumps({"type": kind, "timestamp": "2026-01-31T12:00:00Z", "data": data})


def test_the_signature_is_that_of_standard_webhooks():
    assert messages.headers(SECRET, *MESSAGE) == {
        "Content-Type": "application/json",
        "webhook-id": MESSAGE[0],
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_each_secret_is_a_new_key_of_32_bytes():
    secrets = {messages.new_secret() for _ in range(3)}

    assert len(secrets) == 3
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = base64.b64encode(hmac.digest(key, b"id.1.{}", hashlib.sha256)).decode()
        assert len(key) == 32
        assert messages.headers(secret, "id", 1, b"{}")["webhook-signature"] == f"v1,{signed}"


def test_json_is_sent_as_it_is_stored():
    text = payload("new_leader", **OF_BOARD, **LEADER)

    assert messages.body("json", text) == text.encode()


def test_a_discord_message_mentions_nobody_and_shows_names_as_they_are():
    sent = json.loads(messages.body("discord", payload("new_leader", **OF_BOARD, **LEADER)))

    name = r"\<\!here\> \*a\* \@everyone \& \[x\]\(https\:\/\/evil\.example\)"
    assert sent["allowed_mentions"] == {"parse": []}
    assert sent["content"] == rf"Run \& jump: {name} leads with 1\:23\.456."


def test_a_slack_message_is_plain_text_without_control_sequences():
    sent = json.loads(messages.body("slack", payload("new_leader", **OF_BOARD, **LEADER)))

    name = "&lt;!here&gt; *a* @everyone &amp; [x](https://evil.example)"
    text = f"Run &amp; jump: {name} leads with 1:23.456."
    assert sent == {"text": text, "mrkdwn": False}


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("board_closed", OF_BOARD, "Run &amp; jump: the board is closed."),
        (
            "season_ended",
            {
                **{**OF_BOARD, "format": "number", "season": 7},
                "top_10": [{"rank": n, "username": f"u{n}", "score": 1000.5} for n in range(1, 5)],
            },
            "Run &amp; jump: season 7 has ended.\n1. u1: 1,000.5\n2. u2: 1,000.5\n3. u3: 1,000.5",
        ),
        (
            "user_flagged",
            {"username": None, "rule": "jump", "detail": "a step of 9"},
            "A user was flagged: jump, a step of 9.",
        ),
        ("test", {}, "This is a test message of Scoreboard."),
    ],
)
def test_every_event_has_a_text(kind, data, text):
    assert json.loads(messages.body("slack", payload(kind, **data)))["text"] == text


@pytest.mark.parametrize(
    ("score", "text"), [(0, "0:00.000"), (-1500, "-0:01.500"), (3_723_004, "1:02:03.004")]
)
def test_times_are_written_as_on_a_clock(score, text):
    data = {**OF_BOARD, **LEADER, "username": "Ann", "score": score}

    sent = json.loads(messages.body("slack", payload("new_leader", **data)))

    assert sent["text"] == f"Run &amp; jump: Ann leads with {text}."
