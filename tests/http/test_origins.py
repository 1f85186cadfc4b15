"""Which origins may use the server: one rule for the API, Socket.IO and plain WebSockets."""

import json

import pytest
import requests
import websocket

from config import Config, SettingError
from scoreboard.http.origins import AllowedOrigins
from tests.support.servers import RUN_MODES, Server
from tests.support.subscribers import PATH, PlainViewer

LISTED = "https://app.example,https://*.wild.example:8443,capacitor://localhost,file://"


@pytest.fixture(scope="module", params=RUN_MODES)
def server(request, tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), request.param, CORS_ORIGINS=LISTED)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def token(server):
    return requests.post(f"{server.url}/api/auth/viewer", timeout=10).json()["access_token"]


@pytest.fixture
def answers(server, token):
    """Return a function that tries an origin everywhere and returns what each answered."""

    def status(url, **options):
        try:
            opened = websocket.create_connection(url, timeout=10, **options)
        except websocket.WebSocketBadStatusException as refusal:
            return refusal.status_code, json.loads(refusal.resp_body)["error"]["code"]
        opened.close()
        return 101, None

    def answers(origin, host=None):
        host = host or server.url.removeprefix("http://")
        headers = {"Origin": origin, "Host": host}
        asked = {**headers, "Access-Control-Request-Method": "POST"}
        live = f"{server.url.replace('http', 'ws', 1)}{PATH}"
        options = {"origin": origin, "host": host}
        return {
            "api": requests.get(f"{server.url}/api/score/top10", headers=headers, timeout=10),
            "preflight": requests.options(
                f"{server.url}/api/score/update", headers=asked, timeout=10
            ),
            "polling": requests.get(
                f"{server.url}{PATH}/?EIO=4&transport=polling", headers=headers, timeout=10
            ),
            "socket.io": status(f"{live}/?EIO=4&transport=websocket", **options),
            "plain": status(f"{live}?token={token}", **options),
        }

    return answers


def readers(answers):
    """Return the origin that may read each HTTP answer."""
    return {
        name: answers[name].headers.get("Access-Control-Allow-Origin")
        for name in ("api", "preflight", "polling")
    }


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
def test_an_allowed_origin_may_use_everything(answers, origin, host):
    found = answers(origin, host)

    assert readers(found) == dict.fromkeys(("api", "preflight", "polling"), origin)
    assert found["api"].headers["Vary"] == "Origin"
    assert found["polling"].status_code == 200
    assert found["socket.io"] == found["plain"] == (101, None)


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
def test_any_other_origin_may_use_nothing(answers, origin):
    refusal = (403, "origin_not_allowed")

    found = answers(origin)

    assert readers(found) == dict.fromkeys(("api", "preflight", "polling"))
    polling = found["polling"]
    assert (polling.status_code, polling.json()["error"]["code"]) == refusal
    assert found["socket.io"] == found["plain"] == refusal


def test_a_forwarded_host_is_not_ours_unless_a_proxy_is_trusted(server):
    for headers in ({"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Proto": "https"}):
        headers["Origin"] = "https://evil.example"

        answer = requests.get(
            f"{server.url}{PATH}/?EIO=4&transport=polling", headers=headers, timeout=10
        )

        assert answer.status_code == 403


@pytest.fixture
def behind_a_proxy(tmp_path):
    server = Server(tmp_path, TRUSTED_PROXIES="1")
    yield server
    server.stop()


def test_behind_a_proxy_the_forwarded_host_is_ours(behind_a_proxy, watching):
    token = requests.post(f"{behind_a_proxy.url}/api/auth/viewer", timeout=10).json()
    headers = {"X-Forwarded-Host": "evil.example, board.example", "X-Forwarded-Proto": "https"}
    url = f"{behind_a_proxy.url}{PATH}/?EIO=4&transport=polling"

    ours, theirs = (
        requests.get(url, headers={**headers, "Origin": origin}, timeout=10).status_code
        for origin in ("https://board.example", "https://evil.example")
    )

    assert (ours, theirs) == (200, 403)
    assert watching(
        PlainViewer(
            behind_a_proxy.url,
            token["access_token"],
            "query",
            origin="https://board.example",
            header=headers,
        )
    )


@pytest.mark.parametrize(
    ("given", "normal"),
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
def test_a_listed_origin_is_normalised(tmp_path, given, normal):
    config = Config.from_environment({"CORS_ORIGINS": given}, tmp_path)

    assert (normal,) == config.CORS_ORIGINS


@pytest.mark.parametrize(
    "value",
    [
        "app.example",
        "//app.example",
        "https:app.example",
        "https://",
        "https://:443",
        "https://app.example/",
        "https://app.example/path",
        "https://app.example?query",
        "https://app.example#part",
        "https://app example",
        "https://app..example",
        "https://app%2eexample",
        "https://app.example:",
        "https://app.example:0",
        "https://app.example:65536",
        "https://app.example:port",
        "https://app.example:*",
        "https://*",
        "https://*.",
        "https://*example.com",
        "https://**.example.com",
        "https://a.*.example.com",
        "https://*.*.example.com",
        "https://*.192.0.2.1",
        "https://*.[::1]",
        "*.example.com",
        "*://example.com",
        "https://.*",
        "https://example.com|.*",
        "https://1.2.3",
        "https://1.2.3.256",
        "https://0x7f.1",
        "https://[::1",
        "https://[::g]",
        "https://::1",
        "https://[fe80::1%25eth0]",
        "https://a.example https://b.example",
        "https://a.example;https://b.example",
        "file:///",
        "file://:80",
        "file://*.",
        "https://" + "a" * 400,
        "https://a.example, https://b.example/",
    ],
)
def test_anything_else_stops_the_start_in_one_line(tmp_path, value):
    with pytest.raises(SettingError, match="setting CORS_ORIGINS must list") as refusal:
        Config.from_environment({"CORS_ORIGINS": value}, tmp_path)

    assert "\n" not in str(refusal.value)


def test_credentials_in_an_origin_are_refused_and_not_shown(tmp_path):
    with pytest.raises(SettingError, match="setting CORS_ORIGINS must list") as refusal:
        Config.from_environment({"CORS_ORIGINS": "https://ann:secret@a.example"}, tmp_path)

    assert "secret" not in str(refusal.value)


@pytest.fixture
def allowed(tmp_path):
    """Return a function that says whether an origin is allowed with this setting and Host."""

    def allowed(origin, listed="", host="board.example"):
        config = Config.from_environment({"CORS_ORIGINS": listed}, tmp_path)
        return AllowedOrigins(config.CORS_ORIGINS).allows(
            {"HTTP_ORIGIN": origin, "HTTP_HOST": host}
        )

    return allowed


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://board.example", "board.example"),
        ("https://board.example", "board.example"),
        ("ws://board.example", "board.example"),
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
def test_our_own_host_is_allowed_by_any_scheme_of_the_web(allowed, origin, host):
    assert allowed(origin, host=host)


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
def test_what_is_not_exactly_our_own_host_is_foreign(allowed, origin, host):
    assert not allowed(origin, host=host)


@pytest.mark.parametrize("origin", ["https://a.example.com", "https://A.b.example.com:443"])
def test_a_wildcard_allows_subdomains(allowed, origin):
    assert allowed(origin, "https://*.example.com")


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "https://.example.com",
        "https://xexample.com",
        "https://a.example.com.evil.example",
        "https://a-example.com",
        "https://evil.example/.example.com",
        "https://evil.example#.example.com",
        "https://evil.example\\.example.com",
        "https://*.example.com",
        "http://a.example.com",
        "https://a.example.com:8443",
    ],
)
def test_a_wildcard_allows_subdomains_only(allowed, origin):
    assert not allowed(origin, "https://*.example.com")


def test_a_listed_origin_is_found_however_it_is_written(allowed):
    listed = "HTTPS://Bücher.example:443, http://[::1]:8080"

    assert allowed("https://xn--bcher-kva.example", listed)
    assert allowed("https://XN--BCHER-KVA.example:443", listed)
    assert allowed("http://[0::1]:8080", listed)


def test_a_star_alone_allows_every_origin(allowed):
    for origin in ("https://evil.example", "null", "file:///", "odd"):
        assert allowed(origin, "*")


@pytest.mark.parametrize("settings", [{"CORS_ORIGINS": "https://a.example"}])
def test_an_answer_to_no_origin_names_none(client):
    answer = client.get("/api/leaderboard")

    assert "Access-Control-Allow-Origin" not in answer.headers
