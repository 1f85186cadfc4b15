"""Run the client for Unity with Mono, which runs the scripts of Unity as well."""

import queue
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager

from tests.support.prerequisites import missing
from tests.support.servers import ROOT
from tests.support.waiting import TIMEOUT

CLIENT = ROOT / "clients" / "unity" / "Scoreboard.cs"
PROGRAM = ROOT / "tests" / "clients" / "unity_program.cs"
GUIDE = ROOT / "docs" / "unity.md"
# The classes of Unity that the code of the guide uses.
CLASSES = """
namespace UnityEngine
{
    public class MonoBehaviour {}
    public static class Debug { public static void Log(object message) {} }
    public static class PlayerPrefs
    {
        public static bool HasKey(string key) { return false; }
        public static string GetString(string key) { return ""; }
        public static void SetString(string key, string value) {}
        public static void Save() {}
    }
}
"""
# Unity 2021 and later compile C# 9; Mono's compiler stops at 7.
COMPILE = ["mcs", "-langversion:7.2", "-warnaserror", "-r:System.Net.Http.dll"]


@contextmanager
def unity(folder):
    """Compile the program of the tests; yield the engine that runs it."""
    if not shutil.which("mcs") or not shutil.which("mono"):
        missing("Mono and its C# compiler are not installed")
    engine = Unity(folder)
    yield engine
    engine.close()


class Unity:
    """Runs each action in a process."""

    origin = "http://unused.example.com"

    def __init__(self, folder):
        self.folder = folder
        self.program = self._compile("program.exe", PROGRAM)
        self.runs = []

    def run(self, action, origin, board, *arguments):
        """Start an action of the program with a new client."""
        self.runs.append(Run(self.program, action, origin, board, *arguments))
        return self.runs[-1]

    def compile_guide(self):
        """Compile the code of the guide; fail if it is invalid."""
        blocks = re.findall(r"^```csharp\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
        for name, code in {"guide.cs": "".join(blocks), "classes.cs": CLASSES}.items():
            (self.folder / name).write_text(code)
        files = self.folder / "guide.cs", self.folder / "classes.cs"
        self._compile("guide.dll", "-target:library", *files)

    def close(self):
        for run in self.runs:
            run.process.kill()
            run.process.wait()

    def _compile(self, output, *arguments):
        path = self.folder / output
        command = [*COMPILE, f"-out:{path}", str(CLIENT), *map(str, arguments)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == 0, result.stdout + result.stderr
        return path


class Run:
    """A running action, with the lines that it prints."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen(
            ["mono", str(program), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put("end")

    def lines_until(self, last):
        """Return the next lines until one that starts with this; fail if the action ends first."""
        lines = []
        while not lines or not lines[-1].startswith(last):
            lines.append(self.lines.get(timeout=TIMEOUT))
            assert lines[-1] != "end" or last == "end", lines
        return lines
