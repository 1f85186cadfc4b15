"""The code blocks of README.md and docs/, run as they stand, top to bottom, on a real server.

Of a file, the blocks of sh share their variables, and those of js and python see them in the
environment. A comment before a block says what it must show (`shows:`) or where a later block
looks for it (`file:`).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import requests

from tests.support.prerequisites import missing
from tests.support.servers import ROOT, Server

README = (ROOT / "README.md").read_text()
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
TEXTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = {"sh", "js", "python"}
# What is no program (json, text, nginx, html), or what makes or leaves the machine (console).
NOT_RUN = {"json", "text", "nginx", "html", "console"}
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = {
    "sh": "set -eua; . ./variables; . ./block; export -p > variables",
    "js": ". ./variables; exec node --input-type=module < block",
    "python": '. ./variables; exec "$0" -u block',
}
SECONDS = 60


@dataclass
class Block:
    """A block of code, and what the comment before it says of it."""

    language: str
    code: str
    shows: str | None
    file: str | None


def blocks(text):
    for comment, language, code in BLOCK.findall(text):
        said = dict(part.split(": ", 1) for part in comment.split("; ")) if comment else {}
        yield Block(language, code, said.get("shows"), said.get("file"))


def name(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


class Reader:
    """Somebody who does what a text says, in a folder of their own."""

    def __init__(self, server, folder):
        for program in ("curl", "node"):
            if not shutil.which(program):
                missing(f"{program} is not installed")
        packages = ROOT / "tests" / "js" / "node_modules"
        if not packages.exists():
            missing("the packages of tests/js are not installed")
        (folder / "node_modules").symlink_to(packages)
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "variables").touch()
        (folder / ".venv").symlink_to(Path(sys.prefix))
        self.folder = folder
        self.server = server
        self.environment = {
            **server.environment,
            "PYTHONPATH": str(ROOT),
            "HOME": os.environ["HOME"],
        }

    def follow(self, block):
        """Run the block; fail if it fails, or does not show what it must within SECONDS."""
        code = block.code.replace("localhost:5000", f"127.0.0.1:{self.server.port}")
        if block.file:
            (self.folder / block.file).write_text(code)
            if not block.shows:
                return
        (self.folder / "block").write_text(code)
        self._run(block)

    def _run(self, block):
        """Run the command until it ends, or has shown what it must: a viewer watches for ever."""
        process = subprocess.Popen(
            ["bash", "-c", COMMANDS[block.language], sys.executable],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        late = threading.Timer(SECONDS, process.kill)
        late.start()
        shown = ""
        for line in process.stdout:
            shown += line
            if block.language != "sh" and block.shows and block.shows in shown:
                process.kill()
        status = process.wait()
        late.cancel()
        if block.shows:
            assert block.shows in shown, f"{block.code}\n{shown}"
        if block.language == "sh" or not block.shows:
            assert status == 0, f"{block.code}\n{shown}"


@pytest.mark.parametrize("path", [CONTRIBUTING, *TEXTS], ids=name)
def test_every_block_of_code_is_run_or_cannot_be(path):
    for block in blocks(path.read_text()):
        assert block.language in RUN | NOT_RUN, block.code
    assert path.read_text().count("```") == 2 * len(list(blocks(path.read_text())))


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_what_the_text_says_works_as_it_stands(server, tmp_path, path):
    reader = Reader(server, tmp_path)

    for block in blocks(path.read_text()):
        if block.language in RUN:
            reader.follow(block)


def test_a_block_that_fails_or_shows_something_else_is_noticed(server, tmp_path):
    reader = Reader(server, tmp_path)

    for block in (
        Block("sh", "false\ntrue\n", None, None),
        Block("sh", "echo this\n", "that", None),
        Block("js", "throw new Error('no');\n", None, None),
        Block("python", "print('this')\n", "that", None),
    ):
        with pytest.raises(AssertionError):
            reader.follow(block)


def test_the_react_component_shows_the_board(server, tmp_path):
    reader = Reader(server, tmp_path)
    player = server.user("Reactor")
    server.post(player.token, player.update(1, nonce="for-react"))
    for block in blocks((ROOT / "docs" / "javascript.md").read_text()):
        if block.file:
            reader.follow(Block(block.language, block.code, None, block.file))
    render = f"""
        globalThis.IS_REACT_ACT_ENVIRONMENT = true;
        const {{ act, create }} = (await import("react-test-renderer")).default;
        const {{ createElement }} = await import("react");
        const {{ Board }} = await import("./Board.js");
        let shown;
        await act(() => {{ shown = create(createElement(Board, {{ origin: "{server.url}" }})); }});
        while (!JSON.stringify(shown.toJSON()).includes("{player.user_id}"))
            await act(() => new Promise((resolve) => setImmediate(resolve)));
        console.log("shown");
        await act(() => shown.unmount());
        console.log("gone");
    """

    reader.follow(Block("js", render, "shown\ngone", None))


def test_the_curl_lines_show_the_leaderboard(server, tmp_path):
    if not shutil.which("curl"):
        missing("curl is not installed")
    players = [server.user(f"Leader-{number}") for number in range(5)]
    for number, player in enumerate(players):
        assert server.post(player.token, player.update(1000 + number)).status_code == 200
    me = players[1]
    (lines,) = [each.code for each in blocks(README) if "/api/leaderboard" in each.code]

    done = subprocess.run(
        ["bash", "-euc", lines.replace("localhost:5000", f"127.0.0.1:{server.port}")],
        cwd=tmp_path,
        env={**server.environment, "USER_ID": me.user_id, "TOKEN": me.token},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    decoder, text, told = json.JSONDecoder(), done.stdout, []
    while text:
        one, end = decoder.raw_decode(text)
        told.append(one)
        text = text[end:]
    second_page, place, scores, _, status = told
    assert [entry["score"] for entry in second_page["entries"]][:2] == [1001, 1000]
    assert [entry["rank"] for entry in place["entries"]][:4] == [2, 3, 4, 5]
    assert place["entry"]["username"] == "Leader-1"
    assert [score["score"] for score in scores["scores"]] == [1001]
    assert status == 304


def test_what_game_servers_are_told_to_do_outlives_every_kind_of_lost_answer(monkeypatch):
    text = (ROOT / "docs" / "game-servers.md").read_text()
    (code,) = [block.code for block in blocks(text) if block.language == "python"]
    receipt = {"score": 80}
    replayed = json.dumps({"error": {"code": "replayed", "message": "m", "receipt": receipt}})
    happens = [
        requests.ReadTimeout(),
        requests.ConnectionError(),
        answer(502, "<html>from a proxy</html>"),
        answer(500, '{"error": {"code": "stopping", "message": "m"}}'),
        answer(400, replayed),
    ]
    monkeypatch.setenv("TOKEN", "a-token")
    said, waits = {}, []
    exec(code.partition("\nupdate = ")[0], said)
    said["time"] = SimpleNamespace(sleep=waits.append)
    said["SESSION"] = Mock(post=Mock(side_effect=happens))
    update = said["new_update"]("a-user", 80)

    assert said["submit"](update) == receipt

    assert waits == [0, 1, 2, 3, 4]
    assert [call.kwargs["json"] for call in said["SESSION"].post.call_args_list] == [update] * 5


def answer(status, body):
    response = requests.Response()
    response.status_code, response._content = status, body.encode()
    return response


def test_the_command_in_contributing_runs_one_class_of_tests():
    (command,) = [
        block.code for block in blocks(CONTRIBUTING.read_text()) if block.language == "sh"
    ]

    done = subprocess.run(
        ["bash", "-euc", command.replace(".venv/bin/python", sys.executable)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", [CONTRIBUTING, *TEXTS], ids=name)
def test_every_make_target_that_is_named_exists(path):
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE):
        assert f"\n{target}: " in makefile, target


@pytest.mark.parametrize("path", [CONTRIBUTING, *TEXTS], ids=name)
def test_every_link_to_a_file_leads_to_one(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_setting_is_in_the_readme():
    names = set(re.findall(r'environ(?:\.get\(|, )"([A-Z_]+)"', (ROOT / "config.py").read_text()))
    names |= set(re.findall(r'_secret\(environ, "([A-Z_]+)"', (ROOT / "config.py").read_text()))

    assert len(names) >= 9
    assert all(f"`{name}`" in README for name in names)
