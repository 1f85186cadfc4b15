"""Malformed HTTP requests, as bytes to a real server, cause no 500 and no logged error."""

import contextlib
import socket

import pytest

from tests.support.servers import Server
from tests.support.waiting import TIMEOUT

UPDATE_HEAD = b"POST /api/score/update HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
CHUNKED = UPDATE_HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GET_HEAD = b"GET /api/score/top10 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
REQUESTS = {
    "a chunk without a size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk size that is not a number": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-5\r\n{}\r\n0\r\n\r\n",
    "a chunk size of 1_0": CHUNKED + b"1_0\r\n0123456789012345\r\n0\r\n\r\n",
    "a chunk size of 0x2": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a huge chunk size": CHUNKED + b"f" * 400 + b"\r\n{}",
    "a chunk longer than its size": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "an incomplete chunk": CHUNKED + b"ff\r\n{}",
    "chunks without an end": CHUNKED + b"2\r\n{}\r\n",
    "a long chunk extension": CHUNKED + b"2;a=" + b"b" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n",
    "an unknown coding": UPDATE_HEAD + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "chunks and a length": UPDATE_HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length of 1_0": UPDATE_HEAD + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a length of +5": UPDATE_HEAD + b"Content-Length: +5\r\n\r\n{   }",
    "a negative length": UPDATE_HEAD + b"Content-Length: -5\r\n\r\n{   }",
    "a length that is not a number": UPDATE_HEAD + b"Content-Length: five\r\n\r\n{   }",
    "a length of other digits": UPDATE_HEAD + "Content-Length: \u0665\r\n\r\n{   }".encode(),
    "a superscript length": UPDATE_HEAD + b"Content-Length: \xb2\r\n\r\n{}",
    "a length of 5,000 digits": UPDATE_HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "two lengths": UPDATE_HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "an incomplete body": UPDATE_HEAD + b"Content-Length: 50\r\n\r\n{}",
    "Expect: 100-continue": UPDATE_HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "an unknown expectation": UPDATE_HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "a name of high bytes": GET_HEAD + b"X-\xff\xfe: a\r\n\r\n",
    "a token of high bytes": UPDATE_HEAD
    + b"Authorization: Bearer \xff\xfe\x00\r\nContent-Length: 2\r\n\r\n{}",
    "an etag of high bytes": GET_HEAD + b'If-None-Match: "\xff", W/\r\n\r\n',
    "a header without a colon": GET_HEAD + b"nothing\r\n\r\n",
    "a folded header": GET_HEAD + b"A: b\r\n c\r\n\r\n",
    "a name with a space": GET_HEAD + b"A b : c\r\n\r\n",
    "a header of 100,000 bytes": GET_HEAD + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    "2,000 headers": GET_HEAD + b"A: b\r\n" * 2000 + b"\r\n",
    "a host of high bytes": b"GET / HTTP/1.1\r\nHost: \xff:x\r\nConnection: close\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "a path of high bytes": b"GET /\xff\xfe?\xff=\xfe HTTP/1.0\r\n\r\n",
    "a query of high bytes": b"GET /api/leaderboard?page=\xff HTTP/1.0\r\n\r\n",
    "an escaped NUL": b"GET /web/%00%ff/..%2f..%2fconfig.py HTTP/1.0\r\n\r\n",
    "an absolute target without a valid host": b"GET http://[/api/score/top10 HTTP/1.0\r\n\r\n",
    "a path without a slash": b"GET api HTTP/1.0\r\n\r\n",
    "HTTP/0.9": b"GET /api/score/top10\r\n",
    "HTTP/9.9": b"GET /api/score/top10 HTTP/9.9\r\n\r\n",
    "HTTP/x": b"GET / HTTP/x.y\r\n\r\n",
    "a request line of 100,000 bytes": b"GET /" + b"a" * 100_000,
    "a request line of four words": b"GET / a HTTP/1.1\r\n\r\n",
    "a method of high bytes": b"\xff\xfe / HTTP/1.0\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "nothing": b"\r\n\r\n\r\n",
    "a WebSocket with an invalid key": b"GET /ws/scoreboard HTTP/1.1\r\nHost: a\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: \xff\r\n\r\n",
}


@pytest.fixture(scope="module")
def send(tmp_path_factory):
    """Return a function that sends bytes to a server; it returns the response and log lines."""
    server = Server(tmp_path_factory.mktemp("malformed"))

    def send(data):
        before = len(server.log())
        with socket.create_connection(("127.0.0.1", server.port), TIMEOUT) as connection:
            response = exchange(connection, data)
        assert server.top10() == []
        return response, [line for line in server.log()[before:].splitlines() if line[:1] != "{"]

    yield send
    server.stop()


def exchange(connection, data):
    response = b""
    with contextlib.suppress(OSError):  # the server may close the connection while it receives
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            response += part
    return response


@pytest.mark.parametrize("name", REQUESTS)
def test_a_malformed_request_is_answered_or_its_connection_closed(send, name):
    response, logged = send(REQUESTS[name])

    assert b" 500 " not in response.partition(b"\r\n")[0]
    assert len(response) < 20_000
    assert [line for line in logged if "ERROR" in line or "Traceback" in line] == []
