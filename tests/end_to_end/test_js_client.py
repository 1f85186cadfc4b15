"""The JavaScript client: its Node tests, its types, its README, and Chromium."""

import contextlib
import http.server
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from tests.support.browsers import chromium
from tests.support.prerequisites import missing
from tests.support.servers import PASSWORD, ROOT
from tests.support.tokens import mint

CLIENT = ROOT / "clients" / "js"
README = (CLIENT / "README.md").read_text()
NODE_TESTS = sorted((CLIENT / "test").glob("*.test.js"))


@pytest.fixture(scope="module", autouse=True)
def packages():
    if not shutil.which("node") or not (CLIENT / "node_modules").exists():
        missing("Node or the packages of clients/js are not installed")


@pytest.fixture(scope="module")
def website():
    """Return the origin of another website, which serves the client and its packages."""
    with serving(Website) as origin:
        yield origin


@pytest.fixture(scope="module")
def server(start, website):
    return start(SCORE_POLICY="total", CORS_ORIGINS=website)


@pytest.fixture(autouse=True)
def running(server):
    """Start the server again if a test failed while it was stopped."""
    yield
    if server.process.poll() is not None:
        server.start()


@pytest.fixture(scope="module")
def limited(start):
    return start(SCORE_RATE_LIMIT="2/second")


@contextlib.contextmanager
def serving(handler):
    """Run an HTTP server with this handler; yield its origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as website:
        website.daemon_threads = True
        threading.Thread(target=website.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{website.server_port}"
        website.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def respond(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Website(Quiet):
    """Serves the files of the client, and the page of its README at /."""

    board = ""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, directory=str(CLIENT), **options)

    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        page = block("html").replace("http://localhost:5000", self.board).encode()
        return self.respond(200, "text/html; charset=utf-8", page)


class Control:
    """Actions that the Node tests request by name, with arguments in a JSON body."""

    def __init__(self, server, limited):
        self.server, self.limited_server = server, limited
        self.numbers = itertools.count()
        self.names = (f"Node-{number}" for number in self.numbers)
        self.admin = server.user("Administrator", "admin")
        self.database = server.log_file.parent / "scoreboard.db"
        self.kill, self.start = server.kill, server.start

    def user(self):
        return self._user(self.server)

    def limited_user(self):
        return self._user(self.limited_server)

    def _user(self, server):
        name = next(self.names)
        return {"name": name, "password": PASSWORD, **vars(server.user(name))}

    def mint(self, user_id, lifetime=300, age=0, **_):
        now = time.time()
        return {"token": mint(user_id, iat=now - age, exp=now + lifetime)}

    def score(self, value, **more):
        user = self.user()
        update = {"user_id": user["user_id"], "score_value": value, **more}
        response = self.server.post(user["token"], {**update, "timestamp": "2026-01-01T00:00:00Z"})
        assert response.status_code == 200, response.text
        return user

    def top10(self):
        return {"top_10_scores": self.server.top10()}

    def list(self, board):
        return requests.get(f"{self.server.url}/api/boards/{board}/top10", timeout=10).json()

    def board(self, **settings):
        board_id = f"board-{next(self.numbers)}"
        self._administer("POST", "boards", {"board_id": board_id, "title": "A board", **settings})
        return {"board": board_id}

    def change(self, board, **settings):
        self._administer("PATCH", f"boards/{board}", settings)

    def end_season(self, board):
        self._administer("POST", f"boards/{board}/seasons", None)

    def _administer(self, method, path, body):
        url = f"{self.server.url}/api/admin/{path}"
        response = requests.request(method, url, json=body, headers=self.admin.bearer, timeout=10)
        assert response.ok, response.text

    def history(self, user_id, **_):
        statement = "SELECT score_value, achieved_at, identity FROM scores WHERE user_id = ?"
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return {"scores": database.execute(statement, (user_id,)).fetchall()}

    def lock(self):
        """Prevent all writes to the database until `unlock`."""
        self.lock_connection = sqlite3.connect(
            self.database, isolation_level=None, check_same_thread=False
        )
        self.lock_connection.execute("BEGIN IMMEDIATE")

    def unlock(self):
        self.lock_connection.close()


@pytest.fixture(scope="module")
def control(server, limited):
    """Return the origin that serves the actions of `Control`."""
    control = Control(server, limited)

    class Endpoint(Quiet):
        def do_POST(self):
            arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, result = 200, getattr(control, self.path[1:])(**arguments)
            except Exception as error:
                status, result = 500, repr(error)
            self.respond(status, "application/json", json.dumps(result or {}).encode())

    with serving(Endpoint) as origin:
        yield origin


def run_node(*arguments, timeout=60, **environment):
    """Run Node in the folder of the client and return its output."""
    result = subprocess.run(
        ["node", *arguments],
        cwd=CLIENT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("path", NODE_TESTS, ids=lambda path: path.stem)
def test_the_node_tests_pass(server, limited, control, path):
    origins = {"ORIGIN": server.url, "LIMITED": limited.url, "CONTROL": control}

    output = run_node("--test", "--test-reporter=tap", str(path), timeout=300, **origins)

    count = len(re.findall(r"^test\(", path.read_text(), re.MULTILINE))
    assert f"# pass {count}\n" in output


def test_the_types_are_consistent():
    run_node("node_modules/typescript/bin/tsc", "--project", ".")


def test_the_only_dependency_is_pinned_as_in_the_tests():
    client, tests = (
        json.loads((folder / "package.json").read_text())["dependencies"]
        for folder in (CLIENT, ROOT / "tests" / "js")
    )

    assert client == {"socket.io-client": tests["socket.io-client"]}


def block(language, index=0):
    """Return a code block of the README."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[index]


def run_block(server, index, more=""):
    """Run a code block of the README on the server; return its output."""
    code = block("js", index).replace("http://localhost:5000", server.url)
    return run_node("--input-type=module", "--eval", code + more)


def test_the_first_code_block_shows_the_board(server):
    output = run_block(server, 0, "scoreboard.on('board', () => scoreboard.close());")

    assert output.startswith("state live\nboard [")


def test_the_second_code_block_submits_a_score(server):
    server.user("ann")

    assert run_block(server, 1) == "the score is 120\n"


def test_the_third_code_block_watches_several_boards(server, control):
    requests.post(f"{control}/board", json={"board_id": "weekly"}, timeout=10).raise_for_status()
    close = "scoreboard.on('board', ({ board }) => board === 'weekly' && scoreboard.close());"

    lines = run_block(server, 2, close).splitlines()

    assert [line.split("[")[0] for line in lines if line.startswith(("main", "weekly"))] == [
        "main 1 ",
        "weekly 1 ",
    ]


@pytest.fixture(scope="module")
def page(server, website):
    """Return the page of the README in Chromium, served from another origin than the API."""
    Website.board = server.url
    with chromium() as browser:
        page = browser.new_page()
        page.goto(website)
        yield page


SUBMIT = """async ([origin, name, password, value]) => {
    const { connect, signIn } = await import("scoreboard-client");
    const session = await signIn(origin, name, password);
    window.scoreboard = connect(origin, { token: session.token });
    return scoreboard.submit(session.userId, value);
}"""


def wait_for_entry(page, user, score):
    page.wait_for_selector(f"#board li:text-is('{user.user_id}: {score}')")


def test_chromium_shows_the_board(server, page):
    user = server.user("Reader")

    server.post(user.token, user.update(20_001))

    wait_for_entry(page, user, 20_001)
    assert page.text_content("#state") == "live"


def test_a_score_submitted_while_the_server_is_killed_is_sent_again(server, page):
    user = server.user("Survivor")
    page.evaluate(SUBMIT, [server.url, "Survivor", PASSWORD, 20_003])

    server.kill()
    page.evaluate("id => { window.submitted = scoreboard.submit(id, 1) }", user.user_id)
    page.wait_for_selector("#state:text-is('offline')")
    server.start()

    assert page.evaluate("submitted")["score"] == 20_004
    wait_for_entry(page, user, 20_004)
