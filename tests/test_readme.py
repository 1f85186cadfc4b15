"""The examples of the README, run as they stand."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from serving import ROOT, Server
from viewers import missing

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def block(server, language, heading):
    """Return the block of this language under this heading of the README, but for the address."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return found.replace("localhost:5000", f"127.0.0.1:{server.port}")


def test_the_curl_lines_register_and_post_a_score(server, tmp_path):
    if not shutil.which("curl"):
        missing("curl is not installed")

    done = subprocess.run(
        ["bash", "-euc", block(server, "sh", "Try it")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert '"applied":true' in done.stdout
    assert server.top10()[0]["score"] == 120


def test_the_lines_for_game_servers_send_a_batch(server):
    if not shutil.which("curl"):
        missing("curl is not installed")
    lines = block(server, "sh", "Game servers").replace(
        ".venv/bin/flask", f"{sys.executable} -m flask"
    )

    done = subprocess.run(
        ["bash", "-euc", lines], cwd=ROOT, env=server.environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])["results"]
    assert [(result["status"], result["body"]["score"]) for result in results] == [
        (200, 75),
        (200, 90),
    ]


def test_the_curl_lines_show_the_leaderboard(server, tmp_path):
    if not shutil.which("curl"):
        missing("curl is not installed")
    players = [server.user(f"Leader-{number}") for number in range(5)]
    for number, player in enumerate(players):
        assert server.post(player.token, player.update(1000 + number)).status_code == 200
    me = players[1]

    done = subprocess.run(
        ["bash", "-euc", block(server, "sh", "Leaderboard")],
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


def test_the_javascript_lines_show_the_board(server):
    folder = ROOT / "tests" / "js"
    if not shutil.which("node") or not (folder / "node_modules").exists():
        missing("Node or its packages are not installed")
    stop = "\nsocket.on('top_10_update', () => socket.disconnect());"

    done = subprocess.run(
        ["node", "--input-type=module", "--eval", block(server, "js", "Try it") + stop],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.stdout.startswith("top 10 ["), done.stderr


def test_every_setting_is_in_the_readme():
    names = set(re.findall(r'environ(?:\.get\(|, )"([A-Z_]+)"', (ROOT / "config.py").read_text()))
    names |= set(re.findall(r'_secret\(environ, "([A-Z_]+)"', (ROOT / "config.py").read_text()))

    assert len(names) >= 9
    assert all(f"`{name}`" in README for name in names)
