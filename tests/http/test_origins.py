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
POLLING = f"{PATH}/?EIO=4&transport=polling"


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
    """Return a function that sends an origin to every kind of endpoint.

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
        poll = requests.get(server.url + POLLING, **options)
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
    ("origin", "host", "is_allowed"),
    [
        ("https://app.example", None, True),
        ("https://a.wild.example:8443", None, True),
        ("capacitor://localhost", None, True),
        ("file://", None, True),
        ("wss://board.example:5000", "Board.Example:5000", True),
        ("https://evil.example", None, False),
        ("http://app.example", None, False),
        ("https://a.wild.example", None, False),
        ("null", None, False),
        ("odd text", None, False),
    ],
)
def test_every_endpoint_allows_the_same_origins(request_all, origin, host, is_allowed):
    allowed = [origin] * 3, [(200, None), (101, None), (101, None)]

    assert request_all(origin, host) == (allowed if is_allowed else ([None] * 3, [REFUSED] * 3))


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

    assert requests.get(server.url + POLLING, headers=headers, timeout=10).status_code == 403


def test_a_forwarded_host_of_a_trusted_proxy_is_the_servers_host(tmp_path, closing):
    server = Server(tmp_path, TRUSTED_PROXIES="1")
    headers = {"X-Forwarded-Host": "evil.example, board.example", "X-Forwarded-Proto": "https"}
    try:
        token = server.user("Ann").token

        same, foreign = (
            requests.get(server.url + POLLING, headers={**headers, "Origin": origin}, timeout=10)
            for origin in ("https://board.example", "https://evil.example")
        )

        assert (same.status_code, foreign.status_code) == (200, 403)
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
        ("http://my_host:3000", "http://my_host:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("https://例え。テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://☕.example", "https://xn--53h.example"),
        ("https://*.BÜCHER.example", "https://*.xn--bcher-kva.example"),
        ("http://192.0.2.1:8080", "http://192.0.2.1:8080"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("http://[::1]:80", "http://[::1]"),
        ("https://*.Example.com:443", "https://*.example.com"),
        ("capacitor://localhost", "capacitor://localhost"),
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


WILDCARD = "https://*.example.com"
OTHER_SPELLINGS = "HTTPS://Bücher.example:443, http://[::1]:8080"
# Origins by the Host header and the setting.
ALLOWED = {
    ("board.example", ""): [
        *(f"{scheme}://board.example" for scheme in ("http", "https", "ws", "wss")),
        "https://board.example:443",
    ],
    ("board.example:443", ""): ["https://board.example", "wss://board.example:443"],
    ("board.example:80", ""): ["http://board.example"],
    ("board.example:8443", ""): ["https://board.example:8443"],
    ("board.EXAMPLE", ""): ["HTTPS://BOARD.example"],
    ("127.0.0.1:5000", ""): ["http://127.0.0.1:5000"],
    ("[::1]:5000", ""): ["http://[::1]:5000"],
    ("[::1]:80", ""): ["http://[0:0::1]"],
    ("x", WILDCARD): ["https://a.example.com", "https://A.b.example.com:443"],
    ("x", OTHER_SPELLINGS): [
        *("https://xn--bcher-kva.example", "https://XN--BCHER-KVA.example:443"),
        "http://[0::1]:8080",
    ],
    ("x", "*"): ["https://evil.example", "null", "file:///", "odd"],
}
NOT_ALLOWED = {
    ("board.example", ""): [
        *("https://board.example:8443", "http://board.example:443", "https://evil.example"),
        *("https://board.example.evil.example", "https://board.example@evil.example"),
        *("https://board.example/", "https://board.example, https://evil.example"),
        *("https://evil.example https://board.example", "capacitor://board.example"),
        *("board.example", "https://\xe9\xff.example"),
    ],
    ("board.example:8443", ""): ["https://board.example"],
    ("board.example:443", ""): ["http://board.example"],
    ("evil.example, board.example", ""): ["https://board.example"],
    ("", ""): ["https://", "file://"],
    ("null", ""): ["null"],
    ("x", WILDCARD): [
        *("https://example.com", "https://.example.com", "https://xexample.com"),
        *("https://a.example.com.evil.example", "https://a-example.com"),
        *("https://evil.example/.example.com", "https://evil.example#.example.com"),
        *("https://evil.example\\.example.com", "https://*.example.com"),
        *("http://a.example.com", "https://a.example.com:8443"),
    ],
}


@pytest.mark.parametrize(
    ("is_allowed", "origin", "host", "listed"),
    [
        (is_allowed, origin, *key)
        for is_allowed, table in ((True, ALLOWED), (False, NOT_ALLOWED))
        for key, origins in table.items()
        for origin in origins
    ],
)
def test_exactly_the_servers_host_and_listed_origins_are_allowed(
    tmp_path, is_allowed, origin, host, listed
):
    config = Config.from_environment({"CORS_ORIGINS": listed}, tmp_path)

    allowed = AllowedOrigins(config.CORS_ORIGINS)

    assert allowed.allows({"HTTP_ORIGIN": origin, "HTTP_HOST": host}) is is_allowed
