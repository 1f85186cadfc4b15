"""Build an image from a Dockerfile without containers, for machines that have no engine."""

import json
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
from pathlib import Path

# The commands of these need a machine of their own.
NOT_RUN = ("useradd",)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Return the keyword and the arguments of each instruction."""
    text = re.sub(r"^ *#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in lines) if rest]


class Image:
    """The result of the instructions, in a folder instead of the root of a file system.

    The base image is the Python of the tests. Commands of `NOT_RUN` and USER have no effect.
    """

    def __init__(self, context: Path, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.root = folder / "root"  # the same for all stages: a venv contains its own path
        self.stage = ""
        self.healthcheck: list[str] = []
        self.command: list[str] = []
        for keyword, rest in instructions(context / "Dockerfile"):
            if action := getattr(self, f"_{keyword.lower()}", None):
                action(rest)

    def path(self, text: str) -> str:
        """Return the text with its absolute paths moved into the root of the image."""
        return re.sub(r"(?<![\w./])/(app|venv)\b", rf"{self.root}/\1", text)

    def _from(self, rest: str) -> None:
        if self.stage:
            self.root.rename(self.folder / self.stage)
        self.stage = rest.partition(" AS ")[2]
        self.root.mkdir()
        self.workdir = self.root
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        self.environment = {**pip, "PATH": path, "HOME": str(self.folder)}

    def _workdir(self, rest: str) -> None:
        self.workdir = Path(self.path(rest))
        self.workdir.mkdir(exist_ok=True)

    def _env(self, rest: str) -> None:
        for assignment in shlex.split(rest):
            name, _, value = assignment.partition("=")
            self.environment[name] = string.Template(self.path(value)).substitute(self.environment)

    def _copy(self, rest: str) -> None:
        source, target = rest.split()[-2:]
        if stage := re.match(r"--from=(\w+) ", rest):
            source_path, is_sent = self.folder / stage[1] / source.lstrip("/"), {}
        else:
            source_path = self.context / source
            is_sent = {"ignore": self._ignore} if source == "." else {}
        target_path = self.workdir / self.path(target)
        if source_path.is_dir():
            shutil.copytree(source_path, target_path, symlinks=True, dirs_exist_ok=True, **is_sent)
        else:
            shutil.copy(source_path, target_path)

    def _ignore(self, folder: str, names: list[str]) -> list[str]:
        """Return the names that .dockerignore excludes: all at the top but its exceptions."""
        if Path(folder) != self.context:
            return []
        _, *patterns = re.sub("#.*\n", "", (self.context / ".dockerignore").read_text()).split()
        return [name for name in names if f"!{name}" not in patterns]

    def _run(self, rest: str) -> None:
        if not rest.startswith(NOT_RUN):
            self.run(["sh", "-c", self.path(rest)]).check_returncode()

    def _healthcheck(self, rest: str) -> None:
        self.healthcheck = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)

    def run(self, command: list[str], **variables: str) -> subprocess.CompletedProcess:
        """Run a command in the image with these environment variables; return its result."""
        return subprocess.run(
            command, cwd=self.workdir, env={**self.environment, **variables}, timeout=300
        )

    def start(self, log: Path, **variables: str) -> subprocess.Popen:
        """Start the command of the image, writing to this file."""
        with log.open("w") as file:
            return subprocess.Popen(
                self.command,
                cwd=self.workdir,
                env={**self.environment, **variables},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
