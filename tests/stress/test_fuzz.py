"""Whatever comes from outside: no 500, no traceback, no change without a 200, nothing left over.

What must hold is said by the targets of `stress.fuzz`, which `make fuzz` sends far more to.
"""

import contextlib
import json
import re
import shutil
import socket
from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stress.fuzz import __main__ as fuzz
from stress.fuzz.targets import TARGETS, endpoints
from stress.fuzz.world import ROLES, world
from tests.support.prerequisites import missing
from tests.support.servers import Server
from tests.support.waiting import SECONDS

CASES = [(target, seed.name) for target in TARGETS for seed in (fuzz.SEEDS / target).iterdir()]
often = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

odd = st.recursive(
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
    | st.fixed_dictionaries({}, optional={name: each | odd for name, each in UPDATE.items()})
    | st.dictionaries(st.sampled_from([*UPDATE, "updates", "username", "role"]) | st.text(), odd)
)
bodies = (
    updates | odd | st.lists(updates, max_size=4).map(lambda several: {"updates": several})
).map(json.dumps)
packets = st.lists(
    st.builds("42{}{}".format, st.sampled_from(["", "1", "/x,", "9" * 20]), bodies)
    | st.builds(
        '42{}["update_score",{}]'.format, st.sampled_from(["", "1"]), updates.map(json.dumps)
    )
    | st.builds("40{}".format, odd.map(json.dumps) | st.just('{"token":"$PLAYER_TOKEN"}'))
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
heads = st.binary(max_size=3).flatmap(
    lambda odd: st.tuples(
        st.sampled_from([0x80, 0x81, 0x82, 0x88, 0x8A, 0xC1]),
        st.sampled_from([0, 1, 125, 126, 127, 0x80, 0x81, 0xFD, 0xFE, 0xFF]),
    ).map(lambda head: bytes(head) + odd)
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


def asked():
    """Return a strategy for the first lines: every endpoint, as everybody."""
    names = st.deferred(lambda: st.sampled_from(sorted(endpoints(world().app))))
    return st.builds("{} {}\n".format, names, st.sampled_from([*ROLES, "nobody"]))


def joined(*parts):
    """Return a strategy for the parts one after the other, in bytes."""
    return st.tuples(*parts).map(
        lambda made: b"".join(
            p if isinstance(p, bytes) else p.encode("utf-8", "replace") for p in made
        )
    )


STRUCTURED = {
    "http_body": joined(asked(), bodies | st.binary()),
    "http_headers": joined(asked(), headers),
    "socketio_packets": joined(st.sampled_from("01"), packets),
    "engineio_payload": joined(st.sampled_from("01"), packets),
    "websocket_frames": joined(st.sampled_from("mr"), frames) | joined(st.just("r"), heads, frames),
}


def test_every_target_has_seeds_and_what_is_made_for_it():
    assert set(TARGETS) == set(fuzz.TARGETS) == set(STRUCTURED)


@pytest.mark.parametrize(("target", "seed"), CASES)
def test_what_is_kept_as_a_seed_breaks_nothing(target, seed):
    TARGETS[target]((fuzz.SEEDS / target / seed).read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_break_anything(target):
    often(given(st.binary(max_size=300))(TARGETS[target]))()


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_looks_almost_right_breaks_anything(target):
    often(given(STRUCTURED[target])(TARGETS[target]))()


def test_the_fuzzer_finds_nothing_within_a_moment(tmp_path, capsys):
    if not find_spec("atheris"):
        missing("atheris is not installed")
    shutil.copytree(fuzz.SEEDS / "http_headers", tmp_path / "http_headers")

    found = fuzz.fuzzed("http_headers", seconds=2, seeds=tmp_path)

    told = capsys.readouterr().out
    assert not found, told
    assert re.match(r"http_headers: [1-9]\d* inputs", told)


UPDATE_HEAD = b"POST /api/score/update HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
CHUNKED = UPDATE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET_HEAD = b"GET /api/score/top10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
RAW = {
    "a chunk without a size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk of no number": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk of a negative size": CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n",
    "a chunk of 1_0 bytes": CHUNKED + b"1_0\r\n0123456789012345\r\n0\r\n\r\n",
    "a chunk of 0x2 bytes": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk of a huge size": CHUNKED + b"f" * 400 + b"\r\n{}",
    "a chunk longer than it says": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk that is cut": CHUNKED + b"ff\r\n{}",
    "chunks without an end": CHUNKED + b"2\r\n{}\r\n",
    "an extension of a chunk": CHUNKED + b"2;a=" + b"b" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n",
    "an unknown coding": UPDATE_HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "chunks and a length": UPDATE_HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length of 1_0": UPDATE_HEAD + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a length of +5": UPDATE_HEAD + b"Content-Length: +5\r\n\r\n{   }",
    "a negative length": UPDATE_HEAD + b"Content-Length: -5\r\n\r\n{   }",
    "a length of no number": UPDATE_HEAD + b"Content-Length: five\r\n\r\n{   }",
    "a length of other digits": UPDATE_HEAD + "Content-Length: \u0665\r\n\r\n{   }".encode(),
    "a superscript length": UPDATE_HEAD + b"Content-Length: \xb2\r\n\r\n{}",
    "a length without end": UPDATE_HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "two lengths": UPDATE_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a body that is cut": UPDATE_HEAD + b"Content-Length: 50\r\n\r\n{}",
    "continue, please": UPDATE_HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "an unknown expectation": UPDATE_HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "a name of high bytes": GET_HEAD + b"X-\xff\xfe: a\r\n\r\n",
    "a token of high bytes": UPDATE_HEAD
    + b"Authorization: Bearer \xff\xfe\x00\r\nContent-Length: 2\r\n\r\n{}",
    "an etag of high bytes": GET_HEAD + b'If-None-Match: "\xff", W/\r\n\r\n',
    "a header without a colon": GET_HEAD + b"nothing\r\n\r\n",
    "a header that is folded": GET_HEAD + b"A: b\r\n c\r\n\r\n",
    "a name with a space": GET_HEAD + b"A b : c\r\n\r\n",
    "a header without end": GET_HEAD + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "headers without end": GET_HEAD + b"A: b\r\n" * 2000 + b"\r\n",
    "a host of high bytes": b"GET / HTTP/1.1\r\nHost: \xff:x\r\nConnection: close\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "a path of high bytes": b"GET /\xff\xfe?\xff=\xfe HTTP/1.0\r\n\r\n",
    "a query of high bytes": b"GET /api/leaderboard?page=\xff HTTP/1.0\r\n\r\n",
    "an escaped NUL": b"GET /web/%00%ff/..%2f..%2fconfig.py HTTP/1.0\r\n\r\n",
    "a whole address": b"GET http://[/api/score/top10 HTTP/1.0\r\n\r\n",
    "a path without a slash": b"GET api HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /api/score/top10\r\n",
    "HTTP/9.9": b"GET /api/score/top10 HTTP/9.9\r\n\r\n",
    "HTTP/x": b"GET / HTTP/x.y\r\n\r\n",
    "a request line without end": b"GET /" + b"a" * 100_000,
    "a request line of four words": b"GET / a HTTP/1.1\r\n\r\n",
    "a method of high bytes": b"\xff\xfe / HTTP/1.0\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nothing": b"\r\n\r\n\r\n",
    "a WebSocket of an odd key": b"GET /ws/scoreboard HTTP/1.1\r\nHost: a\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: \xff\r\n\r\n",
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Return what sends bytes to a real server, and returns the answer and what is logged."""
    server = Server(tmp_path_factory.mktemp("raw"))

    def send(data):
        before = len(server.log())
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
            answer = sent_and_answered(connection, data)
        assert server.top10() == []
        return answer, [line for line in server.log()[before:].splitlines() if line[:1] != "{"]

    yield send
    server.stop()


def sent_and_answered(connection, data):
    answer = b""
    with contextlib.suppress(OSError):  # it may hang up before it has read all
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize("name", RAW)
def test_no_request_is_too_broken_to_be_answered_or_hung_up_on(raw, name):
    answer, logged = raw(RAW[name])

    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert len(answer) < 20_000
    assert [line for line in logged if "ERROR" in line or "Traceback" in line] == []
