"""Chromium, its pages, and other websites that embed the board."""

import http.server
import itertools
import re
import threading

import pytest

from tests.support.browsers import LAPTOP, Tab, chromium
from tests.support.servers import ROOT

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def sites():
    """Return the origins of two other websites, and the dictionary of their pages by path."""
    pages = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            headers, body = pages.get(self.path, ({}, ""))
            self.send_response(200 if body else 204)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    for each in servers:
        threading.Thread(target=each.serve_forever, args=(0.05,), daemon=True).start()
    yield [f"http://127.0.0.1:{each.server_port}" for each in servers], pages
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def requests_fail():
    """Return whether requests may fail in this test; such a test parametrizes this."""
    return False


@pytest.fixture
def visit(browser, requests_fail):
    """Return a function that opens a page, which must not report a problem."""
    tabs = []

    def visit(url, script=None, fake_clock=False, sockets=None, urls=None, prepare=None, **options):
        """Open a page; its WebSockets and the URLs of its requests are added to the lists."""
        tab = Tab(browser, url, **{"viewport": LAPTOP, **options})
        tabs.append(tab)
        if fake_clock:
            tab.page.clock.install()
        if script:
            tab.page.add_init_script(script)
        if sockets is not None:
            tab.page.on("websocket", lambda socket: sockets.append(socket))
        if urls is not None:
            tab.page.on("request", lambda request: urls.append(request.url))
        if prepare:
            prepare(tab.page)
        tab.page.goto(url)
        return tab.page

    yield visit
    problems = [problem for tab in tabs for problem in tab.unexpected(requests_fail)]
    for tab in tabs:
        tab.context.close()
    assert problems == []


@pytest.fixture
def embed(server, sites, visit):
    """Return a function that opens a page of another website with the HTML of docs/pages.md.

    Its Content Security Policy is as strict as possible, apart from `policy`.
    """

    def embed(site=0, policy="", body="", **options):
        origins, pages = sites
        (lines,) = re.findall(
            r"```html\n(.*?)```", (ROOT / "docs" / "pages.md").read_text(), re.DOTALL
        )
        socket = server.url.replace("http", "ws")
        strict = f"default-src 'none'; script-src {server.url}; connect-src {server.url} {socket}"
        headers = {"Content-Type": "text/html; charset=utf-8"}
        headers["Content-Security-Policy"] = strict + policy
        board = lines.replace("https://your-board", server.url)
        path = f"/{next(NUMBERS)}"
        pages[path] = (
            headers,
            "<!doctype html><html lang=en><title>Other</title><main><h1>Other</h1>"
            f"{board}{body}</main>",
        )
        return visit(origins[site] + path, **options)

    return embed
