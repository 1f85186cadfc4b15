"""The files that images, platforms and this project's CI are made from.

No image is built and no platform is used: see `tests/support/images.py`. Schemas and linters check
what cannot run here.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests
import yaml

from config import VARIABLES, Config
from tests.support.clones import clone
from tests.support.images import Image, instructions
from tests.support.prerequisites import missing
from tests.support.servers import ROOT, free_port
from tests.support.waiting import wait_until

PROCFILE = dict(line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines())
DOCKERFILE = dict(instructions(ROOT / "Dockerfile"))  # the last of each keyword
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
RENDER = yaml.safe_load((ROOT / "render.yaml").read_text())["services"][0]
FLY = tomllib.loads((ROOT / "fly.toml").read_text())
UNIT = ROOT / "deploy" / "scoreboard.service"
SETTINGS = {VARIABLES.get(name, name) for name in Config.__dataclass_fields__}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    context = clone(folder / "context")
    (context / ".env").write_text("SECRET_KEY=leaked")
    (context / "instance" / "secret_key").write_text("leaked")
    return Image(context, folder)


def test_the_image_serves_until_sigterm(image, tmp_path):
    port = str(free_port())
    log = tmp_path / "log"
    process = image.start(log, PORT=port)
    try:
        wait_until(lambda: image.run(image.healthcheck, PORT=port).returncode == 0, seconds=60)

        response = requests.get(f"http://127.0.0.1:{port}/readyz", timeout=10)

        assert response.json()["checks"]["database"] == "ok", log.read_text()
        assert (image.workdir / "instance" / "scoreboard.db").is_file()
    finally:
        process.terminate()
        assert process.wait(15) == 0, log.read_text()


def test_the_health_check_fails_without_a_server(image):
    assert image.run(image.healthcheck, PORT=str(free_port())).returncode != 0


def test_the_image_has_only_what_the_server_needs(image):
    names = {path.name for path in image.workdir.iterdir()} - {"instance", "__pycache__"}
    secrets = [path.read_text() for path in image.workdir.glob("instance/*secret_key")]

    assert names == {"config.py", "migrations", "requirements.txt", "scoreboard", "wsgi.py"}
    assert "leaked" not in secrets
    assert not (image.root / "venv" / "bin" / "pip").exists()


def test_the_image_does_not_run_as_root():
    assert int(DOCKERFILE["USER"]) > 0


def test_the_dockerfile_has_no_lint():
    program = shutil.which("hadolint", path=Path(sys.executable).parent)
    if not program:
        missing("hadolint is not installed")

    result = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True)

    assert result.stdout == ""
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("compose-spec", "compose.yaml"),
        ("github-workflows", ".github/workflows/*.yml"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_a_file_conforms_to_its_schema(schema, pattern):
    program = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]

    result = subprocess.run([*program, *ROOT.glob(pattern)], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr


def unit_settings(name):
    """Return the values of a setting of the systemd unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def analyze(tmp_path, *arguments):
    """Run `systemd-analyze` on a copy of the unit with the paths of this folder."""
    if not shutil.which("systemd-analyze"):
        missing("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/scoreboard/.venv", sys.prefix)
    unit.write_text(text.replace("/opt/scoreboard", str(ROOT)))
    return subprocess.run(
        ["systemd-analyze", *arguments, unit], capture_output=True, text=True, timeout=60
    )


def test_systemd_accepts_the_unit(tmp_path):
    result = analyze(tmp_path, "verify")

    assert result.returncode == 0, result.stderr
    assert UNIT.name not in result.stderr, "an unknown setting is a warning"


def test_systemd_rates_the_sandbox_of_the_unit_as_ok(tmp_path):
    result = analyze(tmp_path, "security", "--offline=true", "--threshold=20", "--no-pager")

    assert result.returncode == 0, result.stdout


def test_every_platform_migrates_and_serves_with_the_commands_of_the_procfile():
    programs = "/opt/scoreboard/.venv/bin/"

    assert [
        " ".join(COMPOSE["migrate"]["command"]),
        RENDER["preDeployCommand"],
        FLY["deploy"]["release_command"],
        unit_settings("ExecStartPre")[0].removeprefix(programs),
    ] == [PROCFILE["release"]] * 4
    assert [
        " ".join(json.loads(DOCKERFILE["CMD"])),
        unit_settings("ExecStart")[0].removeprefix(programs),
    ] == [PROCFILE["web"]] * 2


def test_every_platform_connects_to_the_port_of_the_image():
    (port,) = re.findall(r"PORT=(\d+)", DOCKERFILE["ENV"])

    assert DOCKERFILE["EXPOSE"] == port
    assert COMPOSE["server"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert str(FLY["http_service"]["internal_port"]) == FLY["env"]["PORT"] == port


def test_every_platform_checks_the_health_endpoint_of_the_image():
    (path,) = re.findall(r"\}(/\w+)'", DOCKERFILE["HEALTHCHECK"])

    assert RENDER["healthCheckPath"] == path
    assert [check["path"] for check in FLY["http_service"]["checks"]] == [path]


def test_every_variable_of_a_platform_is_a_setting():
    variables = {
        *COMPOSE["server"]["environment"],
        *(each["key"] for each in RENDER["envVars"]),
        *FLY["env"],
    }

    assert variables - SETTINGS == set()
