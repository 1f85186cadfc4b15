"""Strict parsing of HTTP/1.1 (RFC 9112): bytes become WSGI environs, or are refused."""

import pytest

from scoreboard.server.request import (
    MAX_CHUNKED_SIZE,
    MAX_HEAD_SIZE,
    MAX_HEADER_SIZE,
    Refused,
    RequestReader,
)

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /update HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"


def read(*parts, max_body_size=1000):
    """Return the environs of the requests in these parts."""
    reader = RequestReader({"REMOTE_ADDR": "192.0.2.1"}, max_body_size)
    for part in parts:
        reader.feed(part)
    return list(reader.requests)


def refused(*parts):
    """Return the status with which the reader refuses one of these parts."""
    with pytest.raises(Refused) as error:
        read(*parts)
    return error.value.status


def split(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def test_a_request_becomes_an_environ():
    (environ,) = read(b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nX-Request-ID: one\r\n\r\n")

    expected = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/a b",
        "QUERY_STRING": "c=d",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "x",
        "HTTP_X_REQUEST_ID": "one",
        "REMOTE_ADDR": "192.0.2.1",
    }
    assert expected.items() <= environ.items()
    assert environ["wsgi.input"].read() == b""


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_requests_may_arrive_in_parts_of_any_size(size):
    data = b"\r\n\r\n" + POST + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000 + GET + b"\r\n"

    post, get = read(*split(data, size))

    assert (post["REQUEST_METHOD"], get["REQUEST_METHOD"]) == ("POST", "GET")
    assert (post["wsgi.input"].read(), post["CONTENT_LENGTH"]) == (b"a" * 1000, "1000")


def test_a_chunked_body_has_a_content_length():
    (environ,) = read(CHUNKED + b"\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: no\r\n\r\n")

    assert (environ["wsgi.input"].read(), environ["CONTENT_LENGTH"]) == (b"hello", "5")
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert "HTTP_TRAILER" not in environ


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        (b"http://board.example:81/a?b=c", "board.example:81", "/a", "b=c"),
        (b"HTTPS://board.example", "board.example", "/", ""),
        (b"http://board.example?b=c", "board.example", "/", "b=c"),
    ],
)
def test_the_host_of_an_absolute_target_replaces_the_header(target, host, path, query):
    (environ,) = read(b"GET " + target + b" HTTP/1.1\r\nHost: other\r\n\r\n")

    assert environ["HTTP_HOST"] == host
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


def test_headers_with_underscores_are_dropped():
    (environ,) = read(GET + b"X_Forwarded_For: 192.0.2.9\r\n\r\n")

    assert "HTTP_X_FORWARDED_FOR" not in environ


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        GET + b"Host: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        GET + b"A: b\r\n c\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b"A: \x00\r\n\r\n",
        GET + b"X-\xff\xfe: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff:x\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/x.y\r\nHost: x\r\n\r\n",
        b"\xff\xfe / HTTP/1.0\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xf4\x01\x00\x00",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: 1_0\r\n\r\nhello",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: five\r\n\r\nhello",
        POST + "Content-Length: \u0665\r\n\r\nhello".encode(),
        POST + b"Content-Length: \xb2\r\n\r\nhi",
        POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\n\r\nhello",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"\r\n\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"\r\nzz\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"\r\n1_0\r\n0123456789012345\r\n0\r\n\r\n",
        CHUNKED + b"\r\n0x2\r\nhi\r\n0\r\n\r\n",
        CHUNKED + b"\r\n" + b"f" * 400 + b"\r\nhello",
        CHUNKED + b"\r\n-1\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"\r\n+5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"\r\n5\nhello\r\n0\r\n\r\n",
        CHUNKED + b"\r\n3\r\nhello\r\n0\r\n\r\n",
        POST + b"Content-Length: 1001\r\n\r\n",
        CHUNKED + b"\r\n3e9\r\n" + b"a" * 1001,
    ],
    ids=lambda data: repr(data[:90]),
)
def test_an_ambiguous_or_too_large_request_is_refused(data):
    assert refused(data) == 400


@pytest.mark.parametrize(
    "endless",
    [b"0" * 1024, b"0\r\n" + b"a: b\r\n" * 200, b"1;" + b"a" * 1024],
    ids=["chunk size", "trailers", "chunk extension"],
)
def test_an_endless_chunked_body_is_refused(endless):
    parts = [endless] * (MAX_CHUNKED_SIZE // len(endless) + 2)

    assert refused(CHUNKED + b"\r\n", *parts) == 400


@pytest.mark.parametrize(
    ("version", "status"),
    [(b"", 505), (b" HTTP/0.9", 505), (b" HTTP/2.0", 505), (b" HTTP/9.9", 400)],
)
def test_versions_other_than_http_1_are_refused(version, status):
    assert refused(b"GET /" + version + b"\r\nHost: x\r\n\r\n") == status


@pytest.mark.parametrize(
    "headers", [b"A: " + b"a" * MAX_HEADER_SIZE, b"A: b\r\n" * MAX_HEAD_SIZE], ids=["one", "many"]
)
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["incomplete", "complete"])
def test_too_large_headers_are_refused_before_their_end(headers, end):
    data = GET + headers + b"a" * MAX_HEAD_SIZE + end

    assert refused(*split(data, 16 * 1024)) == 431


def test_a_header_of_16_kib_is_accepted():
    assert len(read(GET + b"Cookie: " + b"a" * (MAX_HEADER_SIZE - 20) + b"\r\n\r\n")) == 1


def test_a_too_long_target_is_refused():
    assert refused(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") == 414
