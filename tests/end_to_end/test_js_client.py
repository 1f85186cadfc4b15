"""The JavaScript client: in Node by its own tests, in Chromium, its types, and its README."""

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

from tests.support.browsers import chromium
from tests.support.prerequisites import missing
from tests.support.servers import PASSWORD, ROOT, Server
from tests.support.tokens import mint

CLIENT = ROOT / "clients" / "js"
README = (CLIENT / "README.md").read_text()
NODE_TESTS = sorted((CLIENT / "test").glob("*.test.js"))


@pytest.fixture(scope="module", autouse=True)
def packages():
    if not shutil.which("node") or not (CLIENT / "node_modules").exists():
        missing("Node or the packages of clients/js are not installed")


@pytest.fixture(scope="module")
def elsewhere():
    """Return the origin of another website, which has the client and its packages."""
    with serving(Website) as origin:
        yield origin


@pytest.fixture(scope="module")
def server(tmp_path_factory, elsewhere):
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, SCORE_POLICY="total", CORS_ORIGINS=elsewhere)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def running(server):
    """Leave no test without a server because another failed while it was down."""
    yield
    if server.process.poll() is not None:
        server.start()


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("limited"), SCORE_RATE_LIMIT="2/second")
    yield server
    server.stop()


@contextlib.contextmanager
def serving(handler):
    """Serve with this handler on a port of its own; give the origin."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as website:
        website.daemon_threads = True
        threading.Thread(target=website.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{website.server_port}"
        website.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


class Website(Quiet):
    """The files of the client, and at / the page of its README."""

    board = ""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, directory=str(CLIENT), **options)

    def do_GET(self):
        if self.path != "/":
            return super().do_GET()
        page = block("html").replace("http://localhost:5000", self.board).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        return self.wfile.write(page)


class Control:
    """What the Node tests may have done to the server, each a POST with a JSON body."""

    def __init__(self, server, limited):
        self.server, self.limited = server, limited
        self.names = (f"Node-{number}" for number in itertools.count())
        self.database = server.log_file.parent / "scoreboard.db"
        self.lock_holder = None

    def user(self):
        return self._user(self.server)

    def limited_user(self):
        return self._user(self.limited)

    def _user(self, server):
        name = next(self.names)
        person = server.user(name)
        return {
            "name": name,
            "password": PASSWORD,
            "user_id": person.user_id,
            "token": person.token,
        }

    def mint(self, user_id, lifetime=300, age=0, **_):
        now = time.time()
        return {"token": mint(user_id, iat=now - age, exp=now + lifetime)}

    def score(self, value):
        person = self.user()
        update = {"user_id": person["user_id"], "score_value": value}
        answer = self.server.post(person["token"], {**update, "timestamp": "2026-01-01T00:00:00Z"})
        assert answer.status_code == 200, answer.text
        return person

    def top10(self):
        return {"top_10_scores": self.server.top10()}

    def history(self, user_id, **_):
        statement = "SELECT score_value, achieved_at, identity FROM scores WHERE user_id = ?"
        with contextlib.closing(sqlite3.connect(self.database)) as database:
            return {"scores": database.execute(statement, (user_id,)).fetchall()}

    def lock(self):
        """Let nobody write to the database."""
        self.lock_holder = sqlite3.connect(
            self.database, isolation_level=None, check_same_thread=False
        )
        self.lock_holder.execute("BEGIN IMMEDIATE")
        return {}

    def unlock(self):
        self.lock_holder.close()
        return {}

    def kill(self):
        self.server.kill()
        return {}

    def start(self):
        self.server.start()
        return {}


@pytest.fixture(scope="module")
def control(server, limited):
    """Return where the Node tests have things done."""
    control = Control(server, limited)

    class Desk(Quiet):
        def do_POST(self):
            details = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = getattr(control, self.path[1:])(**details)
                self.send_response(200)
            except Exception as error:
                answer = repr(error)
                self.send_response(500)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

    with serving(Desk) as origin:
        yield origin


@pytest.mark.parametrize("path", NODE_TESTS, ids=lambda path: path.stem)
def test_the_clients_own_tests_pass_in_node(server, limited, control, path):
    origins = {"ORIGIN": server.url, "LIMITED": limited.url, "CONTROL": control}

    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", str(path)],
        cwd=CLIENT,
        env={**os.environ, **origins},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    written = len(re.findall(r"^test\(", path.read_text(), re.MULTILINE))
    assert f"# pass {written}\n" in done.stdout


def test_the_types_hold_for_the_client_and_for_who_uses_it():
    done = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "--project", "."],
        cwd=CLIENT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout


def test_its_only_dependency_is_pinned_as_in_the_tests():
    package = json.loads((CLIENT / "package.json").read_text())

    ours = json.loads((ROOT / "tests" / "js" / "package.json").read_text())
    pin = ours["dependencies"]["socket.io-client"]
    assert package["dependencies"] == {"socket.io-client": pin}


def block(language, place=0):
    """Return a code block of the README."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)[place]


def run_block(server, place, more=""):
    """Run a code block of the README in Node, but for the address; return what it prints."""
    lines = block("js", place).replace("http://localhost:5000", server.url)
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", lines + more],
        cwd=CLIENT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_lines_show_the_board(server):
    printed = run_block(server, 0, "scoreboard.on('board', () => scoreboard.close());")

    assert printed.startswith("state live\nboard [")


def test_the_readmes_lines_submit_a_score(server):
    server.user("ann")

    assert run_block(server, 1) == "the score is 120\n"


@pytest.fixture(scope="module")
def page(server, elsewhere):
    """Return the page of the README, open in Chromium, from another origin than the server's."""
    Website.board = server.url
    with chromium() as browser:
        page = browser.new_page()
        page.goto(elsewhere)
        yield page


SUBMIT = """async ([origin, name, password, value]) => {
    const { connect, signIn } = await import("scoreboard-client");
    const session = await signIn(origin, name, password);
    window.scoreboard = connect(origin, { token: session.token });
    return scoreboard.submit(session.userId, value);
}"""


def test_in_chromium_the_board_shows(server, page):
    person = server.user("Shown")

    server.post(person.token, person.update(20_001))

    page.wait_for_selector(f"#board li:text-is('{person.user_id}: 20001')")
    assert page.text_content("#state") == "live"


def test_in_chromium_a_score_is_submitted(server, page):
    person = server.user("Sender")

    receipt = page.evaluate(SUBMIT, [server.url, "Sender", PASSWORD, 20_002])

    assert (receipt["user_id"], receipt["score"]) == (person.user_id, 20_002)
    page.wait_for_selector(f"#board li:text-is('{person.user_id}: 20002')")


def test_in_chromium_a_score_survives_a_killed_server_without_a_reload(server, page):
    person = server.user("Survivor")
    page.evaluate(SUBMIT, [server.url, "Survivor", PASSWORD, 20_003])

    server.kill()
    page.evaluate(
        "id => { window.submitted = scoreboard.submit(id, 1) }",
        person.user_id,
    )
    page.wait_for_selector("#state:text-is('offline')")
    server.start()

    assert page.evaluate("submitted")["score"] == 20_004
    page.wait_for_selector(f"#board li:text-is('{person.user_id}: 20004')")
