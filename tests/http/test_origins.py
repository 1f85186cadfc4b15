"""Allowed origins: one rule for the API, Socket.IO and plain WebSockets."""

import json

import pytest
import requests
import websocket

from config import Config, SettingError
from scoreboard.http.origins import AllowedOrigins
from tests.support.servers import RUN_MODES, Server
from tests.support.subscribers import PATH, WebSocketClient

LISTED = "https://app.example,https://*.wild.example:8443,capacitor://localhost,file://"
REFUSED = (403, "origin_not_allowed")


@pytest.fixture(scope="module", params=RUN_MODES)
def server(request, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), request.param, CORS_ORIGINS=LISTED)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def token(server):
    return requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]


@pytest.fixture
def request_all(server, token):
    """Return a function that sends an origin everywhere.

    It returns the allowed origin of each HTTP response, and status and error code of each
    connection.
    """

    def connect(url, **options):
        try:
            websocket.create_connection(url, timeout=10, **options).close()
        except websocket.WebSocketBadStatusException as refusal:
            return refusal.status_code, json.loads(refusal.resp_body)["error"]["code"]
        return 101, None

    def request_all(origin, host=None):
        host = host or server.url.removeprefix("http://")
        headers = {"Origin": origin, "Host": host, "Access-Control-Request-Method": "POST"}
        options = {"headers": headers, "timeout": 10}
        poll = requests.get(f"{server.url}{PATH}/?EIO=4&transport=polling", **options)
        responses = [
            requests.get(f"{server.url}/api/score/top10", **options),
            requests.options(f"{server.url}/api/score/update", **options),
            poll,
        ]
        error = None if poll.ok else poll.json()["error"]["code"]
        live = f"{server.url.replace('http', 'ws', 1)}{PATH}"
        return [each.headers.get("Access-Control-Allow-Origin") for each in responses], [
            (poll.status_code, error),
            connect(f"{live}/?EIO=4&transport=websocket", origin=origin, host=host),
            connect(f"{live}?token={token}", origin=origin, host=host),
        ]

    return request_all


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example", None),
        ("https://a.wild.example:8443", None),
        ("capacitor://localhost", None),
        ("file://", None),
        ("https://board.example", "board.example"),
        ("wss://board.example:5000", "Board.Example:5000"),
    ],
)
def test_an_allowed_origin_may_use_everything(request_all, origin, host):
    assert request_all(origin, host) == ([origin] * 3, [(200, None), (101, None), (101, None)])


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://wild.example:8443",
        "https://xwild.example:8443",
        "https://a.wild.example",
        "null",
        "no origin at all",
    ],
)
def test_any_other_origin_may_use_nothing(request_all, origin):
    assert request_all(origin) == ([None] * 3, [REFUSED] * 3)


def test_responses_vary_by_origin(server):
    headers = {"Origin": "https://app.example"}

    response = requests.get(f"{server.url}/api/score/top10", headers=headers, timeout=10)

    assert response.headers["Vary"] == "Origin"


@pytest.mark.parametrize("settings", [{"CORS_ORIGINS": "https://a.example"}])
def test_a_request_without_an_origin_gets_no_cors_header(client):
    response = client.get("/api/leaderboard")

    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Proto": "https"}]
)
def test_a_forwarded_host_is_ignored_without_a_trusted_proxy(server, headers):
    headers = {**headers, "Origin": "https://evil.example"}
    url = f"{server.url}{PATH}/?EIO=4&transport=polling"

    assert requests.get(url, headers=headers, timeout=10).status_code == 403


def test_a_forwarded_host_of_a_trusted_proxy_is_the_own_host(tmp_path, closing):
    server = Server(tmp_path, TRUSTED_PROXIES="1")
    headers = {"X-Forwarded-Host": "evil.example, board.example", "X-Forwarded-Proto": "https"}
    try:
        token = requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]
        url = f"{server.url}{PATH}/?EIO=4&transport=polling"

        own, foreign = (
            requests.get(url, headers={**headers, "Origin": origin}, timeout=10).status_code
            for origin in ("https://board.example", "https://evil.example")
        )

        assert (own, foreign) == (200, 403)
        options = {"origin": "https://board.example", "header": headers}
        assert closing(WebSocketClient(server.url, token, "query", **options))
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("listed", "normal"),
    [
        ("*", "*"),
        ("null", "null"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("wss://a.example:0443", "wss://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://my_host:3000", "http://my_host:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え。テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://☕.example", "https://xn--53h.example"),
        ("https://*.Bücher.example", "https://*.xn--bcher-kva.example"),
        ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://*.Example.com:443", "https://*.example.com"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("file://", "file://"),
    ],
)
def test_a_listed_origin_is_normalised(tmp_path, listed, normal):
    config = Config.from_environment({"CORS_ORIGINS": listed}, tmp_path)

    assert list(config.CORS_ORIGINS) == [normal]


@pytest.mark.parametrize(
    "listed",
    [
        *("app.example", "//app.example", "https:app.example", "https://", "https://:443"),
        *("https://app.example/", "https://app.example/path", "https://app.example?query"),
        *("https://app.example#part", "https://app example", "https://app..example"),
        *("https://app%2eexample", "https://app.example:", "https://app.example:0"),
        *("https://app.example:65536", "https://app.example:port", "https://app.example:*"),
        *("https://*", "https://*.", "https://*example.com", "https://**.example.com"),
        *("https://a.*.example.com", "https://*.*.example.com", "https://*.192.0.2.1"),
        *("https://*.[::1]", "*.example.com", "*://example.com", "https://.*"),
        *("https://example.com|.*", "https://1.2.3", "https://1.2.3.256", "https://0x7f.1"),
        *("https://[::1", "https://[::g]", "https://::1", "https://[fe80::1%25eth0]"),
        *("https://a.example https://b.example", "https://a.example;https://b.example"),
        *("file:///", "file://:80", "file://*.", "https://" + "a" * 400),
        *("https://a.example, https://b.example/", "https://ann:secret@a.example"),
    ],
)
def test_a_malformed_origin_stops_the_start_in_one_line_without_credentials(tmp_path, listed):
    with pytest.raises(SettingError, match="setting CORS_ORIGINS must list") as refusal:
        Config.from_environment({"CORS_ORIGINS": listed}, tmp_path)

    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.fixture
def is_allowed(tmp_path):
    """Return a function: whether an origin is allowed with this setting and Host header."""

    def is_allowed(origin, listed="", host="board.example"):
        config = Config.from_environment({"CORS_ORIGINS": listed}, tmp_path)
        environ = {"HTTP_ORIGIN": origin, "HTTP_HOST": host}
        return AllowedOrigins(config.CORS_ORIGINS).allows(environ)

    return is_allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        *((f"{scheme}://board.example", "board.example") for scheme in ("http", "https", "ws")),
        ("wss://board.example", "board.example"),
        ("https://board.example", "board.example:443"),
        ("https://board.example:443", "board.example"),
        ("wss://board.example:443", "board.example:443"),
        ("http://board.example", "board.example:80"),
        ("https://board.example:8443", "board.example:8443"),
        ("HTTPS://BOARD.example", "board.EXAMPLE"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("http://[::1]:5000", "[::1]:5000"),
        ("http://[0:0::1]", "[::1]:80"),
    ],
)
def test_the_own_host_is_allowed_with_any_scheme_of_the_web(is_allowed, origin, host):
    assert is_allowed(origin, host=host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://board.example:8443", "board.example"),
        ("https://board.example", "board.example:8443"),
        ("http://board.example:443", "board.example"),
        ("http://board.example", "board.example:443"),
        ("https://board.example.evil.example", "board.example"),
        ("https://evil.example", "board.example"),
        ("https://board.example@evil.example", "board.example"),
        ("https://board.example/", "board.example"),
        ("https://board.example, https://evil.example", "board.example"),
        ("https://evil.example https://board.example", "board.example"),
        ("capacitor://board.example", "board.example"),
        ("board.example", "board.example"),
        ("https://", ""),
        ("file://", ""),
        ("null", "null"),
        ("https://board.example", "evil.example, board.example"),
        ("https://\xe9\xff.example", "board.example"),
    ],
)
def test_anything_but_exactly_the_own_host_is_foreign(is_allowed, origin, host):
    assert not is_allowed(origin, host=host)


@pytest.mark.parametrize("origin", ["https://a.example.com", "https://A.b.example.com:443"])
def test_a_wildcard_allows_subdomains(is_allowed, origin):
    assert is_allowed(origin, "https://*.example.com")


@pytest.mark.parametrize(
    "origin",
    [
        *("https://example.com", "https://.example.com", "https://xexample.com"),
        *("https://a.example.com.evil.example", "https://a-example.com"),
        *("https://evil.example/.example.com", "https://evil.example#.example.com"),
        *("https://evil.example\\.example.com", "https://*.example.com"),
        *("http://a.example.com", "https://a.example.com:8443"),
    ],
)
def test_a_wildcard_allows_nothing_else(is_allowed, origin):
    assert not is_allowed(origin, "https://*.example.com")


@pytest.mark.parametrize(
    "origin",
    ["https://xn--bcher-kva.example", "https://XN--BCHER-KVA.example:443", "http://[0::1]:8080"],
)
def test_a_listed_origin_is_recognised_in_any_spelling(is_allowed, origin):
    assert is_allowed(origin, "HTTPS://Bücher.example:443, http://[::1]:8080")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "file:///", "odd"])
def test_a_star_allows_every_origin(is_allowed, origin):
    assert is_allowed(origin, "*")
