"""Bytes become requests, or are refused: HTTP/1.1 as RFC 9112 has it, read strictly."""

import pytest

from scoreboard.server.request import (
    MAX_CHUNKED_SIZE,
    MAX_HEAD_SIZE,
    MAX_HEADER_SIZE,
    Refused,
    RequestReader,
)

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /update HTTP/1.1\r\nHost: x\r\n"


def read(*parts, max_body_size=1000):
    """Return the environs of the requests in these parts."""
    reader = RequestReader({"REMOTE_ADDR": "192.0.2.1"}, max_body_size)
    for part in parts:
        reader.feed(part)
    return list(reader.requests)


def refused(*parts, **options):
    """Return the status with which the server refuses one of these parts."""
    with pytest.raises(Refused) as error:
        read(*parts, **options)
    return error.value.status


def test_a_request_is_read_into_an_environ():
    (environ,) = read(GET.replace(b"\r\n\r\n", b"\r\nX-Request-ID: one\r\n\r\n"))

    assert environ["REQUEST_METHOD"] == "GET"
    assert environ["PATH_INFO"] == "/a b"
    assert environ["QUERY_STRING"] == "c=d"
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert environ["HTTP_HOST"] == "x"
    assert environ["HTTP_X_REQUEST_ID"] == "one"
    assert environ["REMOTE_ADDR"] == "192.0.2.1"
    assert environ["wsgi.input"].read() == b""


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_request_may_come_in_parts_of_any_size(size):
    whole = POST + b"Content-Length: 5\r\n\r\nhello" + GET

    found = read(*(whole[start : start + size] for start in range(0, len(whole), size)))

    assert [environ["REQUEST_METHOD"] for environ in found] == ["POST", "GET"]
    assert found[0]["wsgi.input"].read() == b"hello"
    assert found[0]["CONTENT_LENGTH"] == "5"


def test_a_body_in_chunks_has_a_length_to_the_application():
    chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: no\r\n\r\n"

    (environ,) = read(POST + chunked)

    assert environ["wsgi.input"].read() == b"hello"
    assert environ["CONTENT_LENGTH"] == "5"
    assert "HTTP_TRANSFER_ENCODING" not in environ
    assert "HTTP_TRAILER" not in environ


def test_empty_lines_before_a_request_are_skipped():
    assert len(read(b"\r\n\r\n" + GET)) == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_connections_are_kept_as_the_version_has_it(version):
    (environ,) = read(b"GET / HTTP/" + version + b"\r\nHost: x\r\n\r\n")

    assert environ["scoreboard.keep_alive"] == (version == b"1.1")


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


def test_headers_with_underscores_are_left_out():
    (environ,) = read(GET.replace(b"\r\n\r\n", b"\r\nX_Forwarded_For: 192.0.2.9\r\n\r\n"))

    assert "HTTP_X_FORWARDED_FOR" not in environ


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        b"GET /\x80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x00\xf4\x01\x00\x00",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: 1_0\r\n\r\nhello",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n",
    ],
    ids=repr,
)
def test_what_two_readers_could_read_in_two_ways_is_refused(head):
    assert refused(head) == 400


@pytest.mark.parametrize("version", [b"", b" HTTP/0.9", b" HTTP/2.0", b" HTTP/9.9"])
def test_only_http_1_is_spoken(version):
    assert refused(b"GET /" + version + b"\r\nHost: x\r\n\r\n") in (400, 505)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * MAX_HEADER_SIZE,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * MAX_HEAD_SIZE,
    ],
    ids=["one header", "all headers"],
)
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"], ids=["open", "complete"])
def test_a_head_that_is_too_large_is_refused_before_its_end(head, end):
    step = 16 * 1024
    whole = head + b"a" * MAX_HEAD_SIZE + end

    status = refused(*(whole[start : start + step] for start in range(0, len(whole), step)))

    assert status == 431


def test_headers_of_16_kib_are_read():
    cookie = b"Cookie: " + b"a" * (MAX_HEADER_SIZE - 20)

    assert len(read(b"GET / HTTP/1.1\r\nHost: x\r\n" + cookie + b"\r\n\r\n")) == 1


def test_a_target_that_is_too_long_is_refused():
    assert refused(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n") == 414


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 1001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001],
    ids=["length", "chunks"],
)
def test_a_body_that_is_too_large_is_refused_before_its_end(body):
    assert refused(POST + body) == 400


@pytest.mark.parametrize("step", [1, 64, 1000])
def test_a_body_of_the_largest_size_is_read(step):
    whole = POST + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000

    (environ,) = read(*(whole[start : start + step] for start in range(0, len(whole), step)))

    assert len(environ["wsgi.input"].read()) == 1000


@pytest.mark.parametrize(
    "endless",
    [b"0" * 1024, b"0\r\n" + b"a: b\r\n" * 200, b"1;" + b"a" * 1024],
    ids=["the size of a chunk", "trailers", "the extension of a chunk"],
)
def test_a_body_in_chunks_without_end_is_refused(endless):
    parts = [endless] * (MAX_CHUNKED_SIZE // len(endless) + 2)

    assert refused(POST + b"Transfer-Encoding: chunked\r\n\r\n", *parts) == 400


def test_what_follows_a_request_for_an_upgrade_is_not_http():
    reader = RequestReader({}, 1000)

    reader.feed(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x80"
    )

    assert len(reader.requests) == 1
    assert reader.upgraded == b"\x81\x80"
