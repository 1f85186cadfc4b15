"""Run the code blocks of README.md and docs/ in order on a real server.

The `sh` blocks of a file share their variables; `js` and `python` blocks get them as environment
variables. A comment before a block names text that its output must contain (`shows:`) or the file
that later blocks import it from (`file:`).
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import requests

from config import VARIABLES, Config
from tests.support.prerequisites import missing
from tests.support.servers import ROOT

API = (ROOT / "docs" / "api.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
# `console` blocks need another machine; tests/clients checks `gdscript` and `csharp`; the other
# languages of NOT_RUN are not programs.
RUN = {"sh", "js", "python"}
NOT_RUN = {"json", "text", "nginx", "html", "console", "gdscript", "csharp"}
BLOCK = re.compile(r"(?:<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = {
    "sh": "set -eua; . ./variables; . ./block; export -p > variables",
    "js": ". ./variables; exec node --input-type=module < block",
    "python": '. ./variables; exec "$0" -u block',
}
TIMEOUT = 60  # seconds

every_document = pytest.mark.parametrize(
    "path", [CONTRIBUTING, *DOCUMENTS], ids=lambda path: path.stem
)


@dataclass
class Block:
    """A block of code with the options in the comment before it."""

    language: str
    code: str
    shows: str | None = None
    file: str | None = None


def blocks(text):
    for comment, language, code in BLOCK.findall(text):
        options = dict(part.split(": ", 1) for part in comment.split("; ")) if comment else {}
        yield Block(language, code, **options)


@pytest.fixture(scope="module")
def server(start):
    return start()


class Runner:
    """Runs code blocks in a folder, on a server."""

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
            "PYTHONPATH": f"{ROOT}:{ROOT / 'clients' / 'python' / 'src'}",
            "HOME": os.environ["HOME"],
        }

    def run(self, block):
        """Run the block and return its output; fail if it fails or lacks the text of `shows`."""
        code = block.code.replace("localhost:5000", f"127.0.0.1:{self.server.port}")
        (self.folder / (block.file or "block")).write_text(code)
        if block.file and not block.shows:
            return ""
        (self.folder / "block").write_text(code)
        process = subprocess.Popen(
            ["bash", "-c", COMMANDS[block.language], sys.executable],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        timer = threading.Timer(TIMEOUT, process.kill)
        timer.start()
        output = ""
        for line in process.stdout:
            output += line
            # A program that watches the board never ends.
            if block.language != "sh" and block.shows and block.shows in output:
                process.kill()
        status = process.wait()
        timer.cancel()
        if block.shows:
            assert block.shows in output, f"{block.code}\n{output}"
        if block.language == "sh" or not block.shows:
            assert status == 0, f"{block.code}\n{output}"
        return output


@pytest.fixture
def runner(server, tmp_path):
    return Runner(server, tmp_path)


@every_document
def test_every_block_has_a_known_language(path):
    text = path.read_text()

    languages = [block.language for block in blocks(text)]

    assert set(languages) <= RUN | NOT_RUN
    assert text.count("```") == 2 * len(languages)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_blocks_of_a_document_run_unchanged(runner, path):
    for block in blocks(path.read_text()):
        if block.language in RUN:
            runner.run(block)


@pytest.mark.parametrize(
    "block",
    [
        Block("sh", "false\ntrue\n"),
        Block("sh", "echo this\n", shows="that"),
        Block("js", "throw new Error('no');\n"),
        Block("python", "print('this')\n", shows="that"),
    ],
    ids=lambda block: block.code.split()[0],
)
def test_a_block_that_fails_or_lacks_its_output_is_found(runner, block):
    with pytest.raises(AssertionError):
        runner.run(block)


def test_the_react_component_shows_the_board(server, runner):
    player = server.user("Reactor")
    server.post(player.token, player.update(998, nonce="for-react"))
    for block in blocks((ROOT / "docs" / "javascript.md").read_text()):
        if block.file:
            runner.run(Block(block.language, block.code, file=block.file))
    render = f"""
        globalThis.IS_REACT_ACT_ENVIRONMENT = true;
        const {{ act, create }} = (await import("react-test-renderer")).default;
        const {{ createElement }} = await import("react");
        const {{ Board }} = await import("./Board.js");
        let board;
        await act(() => {{ board = create(createElement(Board, {{ origin: "{server.url}" }})); }});
        while (!JSON.stringify(board.toJSON()).includes("{player.user_id}"))
            await act(() => new Promise((resolve) => setImmediate(resolve)));
        await act(() => board.unmount());
        console.log("unmounted");
    """

    runner.run(Block("js", render, shows="unmounted"))


def test_the_curl_commands_show_the_leaderboard(server, runner):
    players = [server.user(f"Leader-{number}") for number in range(5)]
    for number, player in enumerate(players):
        server.post(player.token, player.update(1000 + number))
    (commands,) = [each.code for each in blocks(API) if "/api/leaderboard" in each.code]
    variables = f"USER_ID={players[1].user_id} TOKEN={players[1].token}\n"

    output = runner.run(Block("sh", variables + commands))

    second_page, neighbours, history, _, status = json.loads(
        "[" + re.sub(r"}\s*(?=[{\d])", "},", output) + "]"
    )
    assert [entry["score"] for entry in second_page["entries"]][:2] == [1001, 1000]
    assert [entry["rank"] for entry in neighbours["entries"]][:4] == [2, 3, 4, 5]
    assert neighbours["entry"]["username"] == "Leader-1"
    assert [score["score"] for score in history["scores"]] == [1001]
    assert status == 304


def response(status, body):
    made = requests.Response()
    made.status_code, made._content = status, body.encode()
    return made


def test_the_code_for_game_servers_repeats_a_request_until_its_receipt_arrives(monkeypatch):
    text = (ROOT / "docs" / "game-servers.md").read_text()
    (code,) = [block.code for block in blocks(text) if block.language == "python"]
    receipt = {"score": 80}
    replayed = json.dumps({"error": {"code": "replayed", "message": "m", "receipt": receipt}})
    results = [
        requests.ReadTimeout(),
        requests.ConnectionError(),
        response(502, "<html>from a proxy</html>"),
        response(500, '{"error": {"code": "stopping", "message": "m"}}'),
        response(400, replayed),
    ]
    monkeypatch.setenv("TOKEN", "a-token")
    module, waits = {}, []
    exec(code.partition("\nupdate = ")[0], module)
    module["time"] = SimpleNamespace(sleep=waits.append)
    module["SESSION"] = Mock(post=Mock(side_effect=results))
    update = module["new_update"]("a-user", 80)

    assert module["submit"](update) == receipt

    assert waits == [0, 1, 2, 3, 4]
    assert [call.kwargs["json"] for call in module["SESSION"].post.call_args_list] == [update] * 5


def test_the_command_in_contributing_runs_one_class_of_tests():
    (command,) = [
        block.code for block in blocks(CONTRIBUTING.read_text()) if block.language == "sh"
    ]

    result = subprocess.run(
        ["bash", "-euc", command.replace(".venv/bin/python", sys.executable)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stdout + result.stderr


@every_document
def test_every_make_target_in_a_document_exists(path):
    makefile = (ROOT / "Makefile").read_text()

    for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.MULTILINE):
        assert f"\n{target}: " in makefile, target


@every_document
def test_every_linked_file_exists(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_setting_is_documented():
    names = [VARIABLES.get(field.name, field.name) for field in fields(Config)]

    assert [name for name in names if f"`{name}`" not in SETTINGS] == []
