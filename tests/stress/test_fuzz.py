"""No input causes a 500, a traceback, an unacknowledged change, or a connection that stays open.

The targets of `stress.fuzz` check this; `make fuzz` sends them far more input.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stress.fuzz.__main__ import SEEDS
from stress.fuzz.application import ROLES, fuzzed_application
from stress.fuzz.targets import TARGETS, endpoints

CASES = [(target, seed.name) for target in TARGETS for seed in (SEEDS / target).iterdir()]
many_examples = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
UPDATE = {
    "user_id": st.sampled_from(["$PLAYER_ID", "$ADMIN_ID"]),
    "score_value": st.integers() | st.floats(),
    "timestamp": st.datetimes().map(str),
    "nonce": st.just("$NONCE"),
}
updates = (
    st.fixed_dictionaries(UPDATE)
    | st.fixed_dictionaries(
        {}, optional={name: each | json_values for name, each in UPDATE.items()}
    )
    | st.dictionaries(
        st.sampled_from([*UPDATE, "updates", "username", "role"]) | st.text(), json_values
    )
)
bodies = (
    updates | json_values | st.lists(updates, max_size=4).map(lambda batch: {"updates": batch})
).map(json.dumps)
packets = st.lists(
    st.builds("42{}{}".format, st.sampled_from(["", "1", "/x,", "9" * 20]), bodies)
    | st.builds(
        '42{}["update_score",{}]'.format, st.sampled_from(["", "1"]), updates.map(json.dumps)
    )
    | st.builds("40{}".format, json_values.map(json.dumps) | st.just('{"token":"$PLAYER_TOKEN"}'))
    | st.builds("{}{}".format, st.integers(0, 59), st.text(max_size=9)),
    max_size=6,
).map("\x1e".join)
frames = st.lists(
    st.builds(
        lambda opcode, bits, payload: bytes([opcode | bits << 4, len(payload)]) + payload,
        st.integers(0, 15),
        st.sampled_from([8, 8, 0]) | st.integers(0, 15),
        st.binary(max_size=125) | st.sampled_from([b"2", b"41", b'42["update_score",{}]']),
    ),
    max_size=8,
).map(b"".join)
frame_heads = st.binary(max_size=3).flatmap(
    lambda rest: st.tuples(
        st.sampled_from([0x80, 0x81, 0x82, 0x88, 0x8A, 0xC1]),
        st.sampled_from([0, 1, 125, 126, 127, 0x80, 0x81, 0xFD, 0xFE, 0xFF]),
    ).map(lambda head: bytes(head) + rest)
)
header_names = st.sampled_from(["query", "suffix", "authorization", "if-none-match"]) | (
    st.sampled_from(["origin", "content-length", "x-request-id", "upgrade", "content-type"])
    | st.sampled_from(["connection", "sec-websocket-key", "sec-websocket-protocol"])
)
values = st.text(max_size=40) | st.sampled_from(
    ["Bearer $ADMIN_TOKEN", "scoreboard, $ADMIN_TOKEN", "1_0", "+5", "-1", "*", '"']
)
UPGRADE = "connection:upgrade\nupgrade:websocket\nsec-websocket-version:13\nsec-websocket-key:x"
headers = st.lists(
    st.builds("{}:{}".format, header_names, values)
    | st.sampled_from([UPGRADE, "query:token=$PLAYER_TOKEN", "query:EIO=4&transport=websocket"]),
    max_size=5,
).map("\n".join)


def first_lines():
    """Return a strategy for the first lines: every endpoint, with every role and without."""
    names = st.deferred(lambda: st.sampled_from(sorted(endpoints(fuzzed_application().app))))
    return st.builds("{} {}\n".format, names, st.sampled_from([*ROLES, "anonymous"]))


def joined(*parts):
    """Return a strategy for the concatenated parts, as bytes."""
    return st.tuples(*parts).map(
        lambda values: b"".join(
            p if isinstance(p, bytes) else p.encode("utf-8", "replace") for p in values
        )
    )


STRUCTURED = {
    "http_body": joined(first_lines(), bodies | st.binary()),
    "http_headers": joined(first_lines(), headers),
    "socketio_packets": joined(st.sampled_from("01"), packets),
    "engineio_payload": joined(st.sampled_from("01"), packets),
    "websocket_frames": joined(st.sampled_from("mr"), frames)
    | joined(st.just("r"), frame_heads, frames),
}


@pytest.mark.parametrize(("target", "seed"), CASES)
def test_a_stored_input_causes_no_failure(target, seed):
    TARGETS[target]((SEEDS / target / seed).read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_random_bytes_cause_no_failure(target):
    many_examples(given(st.binary(max_size=300))(TARGETS[target]))()


@pytest.mark.parametrize("target", TARGETS)
def test_almost_valid_input_causes_no_failure(target):
    many_examples(given(STRUCTURED[target])(TARGETS[target]))()
