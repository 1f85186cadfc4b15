"""The package of the JavaScript client, installed into projects of npm, pnpm and Vite."""

import base64
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.browsers import chromium
from tests.support.prerequisites import missing
from tests.support.servers import PASSWORD, ROOT

CLIENT = ROOT / "clients" / "js"
PACKAGES = ROOT / "tests" / "js" / "node_modules"
PNPM = ["node", str(PACKAGES / "pnpm" / "bin" / "pnpm.cjs")]
VITE = ["node", str(PACKAGES / "vite" / "bin" / "vite.js")]
TSC = ["node", str(CLIENT / "node_modules" / "typescript" / "bin" / "tsc")]
# Packages that an earlier installation downloaded are not requested again.
NPM_INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline"]

IMPORTS = {
    "mjs": 'import { connect, signIn } from "scoreboard-client";',
    "cjs": 'const { connect, signIn } = require("scoreboard-client");',
}
PROGRAM = """
async function main([origin, name, password]) {
  const session = await signIn(origin, name, password);
  const scoreboard = connect(origin, { token: session.token });
  const receipt = await scoreboard.submit(session.userId, 7);
  console.log(receipt.score);
  scoreboard.close();
}
main(process.argv.slice(2));
"""
TYPESCRIPT = """
import { connect, type Receipt } from "scoreboard-client";
const scoreboard = connect("http://localhost:5000");
export const receipt: Promise<Receipt> = scoreboard.submit("a-user", 1);
// @ts-expect-error - a score is a number
scoreboard.submit("a-user", "1");
"""
PAGE = """
<!doctype html>
<html lang="en">
  <title>Top 10</title>
  <p id="state"></p>
  <script type="module">
    import { connect } from "scoreboard-client";
    const scoreboard = connect(location.hash.slice(1));
    scoreboard.on("state", (state) => (document.querySelector("#state").textContent = state));
  </script>
</html>
"""


def run(command, folder, **environment):
    """Run a command in the folder and return its output; fail if it fails."""
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return a copy of the client after `npm ci`, which installs its packages and builds it."""
    if not shutil.which("npm"):
        missing("npm is not installed")
    if not all(map(os.path.exists, [PNPM[1], VITE[1], TSC[1]])):
        missing("the packages of tests/js or clients/js are not installed")
    folder = tmp_path_factory.mktemp("source") / "js"
    shutil.copytree(CLIENT, folder, ignore=shutil.ignore_patterns("node_modules", "cjs"))
    (folder / "node_modules").symlink_to(CLIENT / "node_modules")
    run(["npm", "run", "prepare"], folder)
    return folder


@pytest.fixture(scope="module")
def tarball(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tarball")
    run(["npm", "pack", "--pack-destination", str(folder)], source)
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def registry(source, tarball):
    """Run a registry that serves the tarball, and redirects to npm's for all other packages."""
    content = tarball.read_bytes()
    manifest = json.loads((source / "package.json").read_text())
    others = run(["npm", "config", "get", "registry"], source).strip().rstrip("/")

    class Registry(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == f"/{tarball.name}":
                self.respond(200, content)
            elif self.path == "/scoreboard-client":
                self.respond(200, json.dumps(packument).encode())
            else:
                self.respond(302, Location=others + self.path)

        def respond(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(body), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
        version = {"dist": {"tarball": f"{origin}/{tarball.name}", "integrity": integrity}}
        packument = {
            "name": "scoreboard-client",
            "dist-tags": {"latest": manifest["version"]},
            "versions": {manifest["version"]: {**manifest, **version}},
        }
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield origin
        server.shutdown()


@pytest.fixture(scope="module")
def projects(source, tarball, registry, tmp_path_factory):
    """Return the folders of new projects with the client, by how it was installed."""
    commands = {
        "npm from the folder": [*NPM_INSTALL, str(source)],
        "pnpm from the tarball": [*PNPM, "add", "--prefer-offline", str(tarball)],
        "npm from a registry": [*NPM_INSTALL, "scoreboard-client", f"--registry={registry}"],
    }

    def install(name):
        folder = tmp_path_factory.mktemp("project", numbered=True)
        (folder / "package.json").write_text('{"private": true}')
        run(commands[name], folder)
        return folder

    with ThreadPoolExecutor() as executor:
        return dict(zip(commands, executor.map(install, commands), strict=True))


every_project = pytest.mark.parametrize(
    "project", ["npm from the folder", "pnpm from the tarball", "npm from a registry"]
)


@pytest.fixture(scope="module")
def website(projects):
    """Return the origin of a website with the page that Vite builds."""
    folder = projects["npm from a registry"] / "dist"

    class Website(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Website) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def server(start, website):
    return start(CORS_ORIGINS=website)


@every_project
@pytest.mark.parametrize("extension", IMPORTS)
def test_a_program_submits_a_score(server, projects, project, extension):
    name = f"{project.replace(' ', '-')}-{extension}"
    server.user(name)
    program = projects[project] / f"submit.{extension}"
    program.write_text(IMPORTS[extension] + PROGRAM)

    output = run(["node", str(program), server.url, name, PASSWORD], projects[project])

    assert output == "7\n"


# For each resolution of modules, the programs: an ES module and CommonJS, or one for a bundler.
@pytest.mark.parametrize(
    ("module", "resolution", "programs"),
    [
        ("node16", "node16", ["program.mts", "program.cts"]),
        ("preserve", "bundler", ["program.ts"]),
    ],
    ids=["node16", "bundler"],
)
def test_a_typescript_program_compiles(projects, module, resolution, programs):
    folder = projects["pnpm from the tarball"]
    for program in programs:
        (folder / program).write_text(TYPESCRIPT)
    options = ["--module", module, "--moduleResolution", resolution, "--strict", "--noEmit"]

    run([*TSC, *options, *programs], folder)


def test_a_page_built_with_vite_is_live(server, projects, website):
    folder = projects["npm from a registry"]
    (folder / "index.html").write_text(PAGE)

    run([*VITE, "build"], folder)

    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"{website}/#{server.url}")
        page.wait_for_selector("#state:text-is('live')")
