"""While the database hangs, is locked or is read-only, every request gets a response in seconds."""

import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from scoreboard.db.engine import POSTGRES_BEGIN_WRITE
from scoreboard.db.transactions import DEADLINE
from tests.support import databases
from tests.support.backing_services import PostgresServer
from tests.support.prerequisites import missing
from tests.support.servers import ROOT, RUN_MODES, Server, free_port
from tests.support.subscribers import WebSocketClient
from tests.support.tokens import mint
from tests.support.waiting import wait_until

MANY = 100


@pytest.fixture(params=RUN_MODES)
def mode(request):
    return request.param


@pytest.fixture
def postgres(tmp_path):
    postgres = PostgresServer(tmp_path)
    yield postgres
    postgres.resume()
    postgres.stop()


@pytest.fixture
def url():
    return databases.new_database()


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a server; it is stopped after the test."""
    with contextlib.ExitStack() as stack:

        def start(mode="python wsgi.py", **settings):
            folder = tmp_path / f"server-{len(os.listdir(tmp_path))}"
            folder.mkdir()
            server = Server(folder, mode, **settings)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def server(start, mode, url):
    return start(mode, DATABASE_URL=url)


@pytest.fixture
def player(server):
    return server.user("Ann")


def send_all(server, player, count=MANY):
    """Post this many updates at the same time; return their statuses."""
    with ThreadPoolExecutor(count) as pool:
        updates = [player.update(value, nonce=f"nonce-{value:03}") for value in range(count)]
        return list(pool.map(lambda update: server.post(player.token, update).status_code, updates))


def sqlite_path(server):
    return server.environment["DATABASE_URL"].removeprefix("sqlite:///")


def alter(url, change):
    """Change a default of the database, even if that is read-only."""
    writable = "-c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=writable) as admin:
        admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} {change}")


def wait_until_accepted(server, player):
    wait_until(lambda: server.post(player.token, player.update(1000)).status_code == 200, 20)


class TestUnresponsivePostgres:
    @pytest.fixture
    def url(self, postgres):
        return databases.migrated(postgres.url)

    def test_every_update_gets_a_response_and_is_accepted_after_the_outage(
        self, postgres, server, player
    ):
        postgres.pause()

        statuses = send_all(server, player)

        assert statuses == [500] * MANY
        postgres.resume()
        wait_until_accepted(server, player)

    def test_the_process_is_alive_and_not_ready_and_serves_the_cached_top_10(
        self, postgres, server, player
    ):
        server.post(player.token, player.update(7))
        before = server.top10()
        postgres.pause()
        send_all(server, player, 10)

        assert requests.get(f"{server.url}/healthz", timeout=5).status_code == 200
        assert requests.get(f"{server.url}/readyz", timeout=15).status_code == 503
        assert server.top10() == before

    def test_connections_expire(self, postgres, server, player):
        token = mint(player.user_id, exp=datetime.now(UTC) + timedelta(seconds=3))
        subscriber = WebSocketClient(server.url, token)
        subscriber.wait_for_count(1)

        postgres.pause()

        assert subscriber.ended.wait(20)
        assert subscriber.code == 4401


def test_a_frozen_transaction_blocks_other_processes_only_for_seconds(url, server, player):
    with contextlib.closing(psycopg.connect(url)) as frozen:
        frozen.autocommit = True
        frozen.execute(POSTGRES_BEGIN_WRITE)
        frozen.execute("SELECT * FROM board_versions FOR UPDATE")

        statuses = send_all(server, player, 10)

        assert set(statuses) <= {200, 500}
        wait_until_accepted(server, player)


def test_updates_get_responses_while_the_row_is_locked(url, server, player):
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM board_versions FOR UPDATE")

        statuses = send_all(server, player)

        assert statuses == [500] * MANY
    wait_until_accepted(server, player)


def test_a_freeze_takes_as_long_as_it_needs(url, server, player):
    bearer = {"Authorization": f"Bearer {server.user('Ben', 'admin').token}"}
    assert server.post(player.token, player.update(1)).status_code == 200
    with psycopg.connect(url, autocommit=True) as database:
        # Longer than the deadline of other transactions.
        database.execute(
            "CREATE FUNCTION copy_slowly() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN PERFORM pg_sleep({DEADLINE + 1}); RETURN NEW; END $$"
        )
        database.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON standings FOR EACH ROW WHEN (NEW.season < 0)"
            " EXECUTE FUNCTION copy_slowly()"
        )

    with ThreadPoolExecutor(1) as pool:
        url = f"{server.url}/api/admin/boards/main/freeze"
        freezing = pool.submit(requests.post, url, headers=bearer, timeout=30)
        wait_until(lambda: not server.post(player.token, player.update(2)).ok)
        refused = server.post(player.token, player.update(3))
        ready = requests.get(f"{server.url}/readyz", timeout=15)
        is_over = freezing.done()

        assert not is_over
        assert (refused.status_code, refused.json()["error"]["code"]) == (500, "overloaded")
        assert ready.status_code == 200
        assert freezing.result().json()["state"] == "frozen"
    wait_until_accepted(server, player)


def test_updates_and_reads_get_responses_while_sqlite_is_locked(start, mode):
    server = start(mode)
    player = server.user("Ann")
    path = sqlite_path(server)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        statuses = send_all(server, player)

        assert statuses == [500] * MANY
        assert requests.get(f"{server.url}/api/leaderboard", timeout=5).status_code == 200
        other.execute("ROLLBACK")
    wait_until_accepted(server, player)


def test_a_read_only_database_is_not_ready_and_recovers_without_a_restart(url, server, player):
    assert server.post(player.token, player.update(1)).status_code == 200
    alter(url, "SET default_transaction_read_only = on")
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    assert server.post(player.token, player.update(2)).status_code == 500
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 503

    alter(url, "RESET default_transaction_read_only")
    wait_until_accepted(server, player)
    wait_until(lambda: requests.get(f"{server.url}/readyz", timeout=10).status_code == 200)


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "datestyle = 'German, DMY'",
        "timezone = 'Asia/Kolkata'",
        "client_encoding = 'LATIN1'",
    ],
)
def test_defaults_of_the_database_affect_no_update_and_no_revoked_token(start, url, setting):
    alter(url, f"SET {setting}")
    first, second = start(DATABASE_URL=url), start(DATABASE_URL=url)
    player = first.user("Ännchen")

    def post(value):
        server = (first, second)[value % 2]
        update = player.update(value, nonce=f"nonce-{value:03}")
        return server.post(player.token, update).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(post, range(60)))
    requests.post(f"{first.url}/api/auth/logout", headers=player.bearer, timeout=10)
    revoked = second.post(player.token, player.update(60))

    assert statuses == [200] * 60
    assert (revoked.status_code, revoked.json()["error"]["code"]) == (401, "token_revoked")


class TestSqliteFile:
    def test_after_a_stop_it_is_the_complete_database(self, start, tmp_path):
        server = start()
        player = server.user("Ann")
        server.post(player.token, player.update(120))
        server.stop()
        path = sqlite_path(server)

        copy = tmp_path / "copy.db"
        copy.write_bytes(Path(path).read_bytes())

        with contextlib.closing(sqlite3.connect(copy)) as database:
            assert database.execute("SELECT rank_key FROM standings").fetchall() == [(120,)]

    def test_only_its_owner_can_read_it(self, start):
        server = start()
        path = sqlite_path(server)

        modes = {stat.S_IMODE(os.stat(path + end).st_mode) for end in ("", "-wal", "-shm")}

        assert modes == {0o600}

    def test_a_read_only_file_stops_the_start_with_one_line(self, start):
        server = start()
        server.stop()
        path = sqlite_path(server)
        without_override = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        os.chmod(path, 0o444)
        os.chmod(os.path.dirname(path), 0o555)

        process = subprocess.run(
            [*(without_override if os.geteuid() == 0 else []), sys.executable, "wsgi.py"],
            env=server.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert process.returncode == 1
        assert process.stderr.strip().splitlines()[-1] == (
            "scoreboard: setting DATABASE_URL names no file that can be opened and written to"
        )


def test_a_database_that_is_not_utf8_stops_the_start(tmp_path):
    url = databases.migrated(databases.new_postgres("template0 ENCODING 'LATIN1' LOCALE 'C'"))

    with pytest.raises(AssertionError, match="encoding is LATIN1: create it with ENCODING 'UTF8'"):
        Server(tmp_path, DATABASE_URL=url)


@pytest.fixture
def pooler(tmp_path):
    """Return a function that starts PgBouncer in transaction mode in front of a database."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program:
        missing("pgbouncer is not installed")
    running = []

    def start(url):
        port, name = free_port(), url.rpartition("/")[2]
        parts = urlsplit(url)
        (tmp_path / "users.txt").write_text(f'"{parts.username}" ""\n')
        (tmp_path / "pgbouncer.ini").write_text(
            f"[databases]\n{name} = host={parts.hostname} port={parts.port} user={parts.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {tmp_path}/users.txt\n"
            "pool_mode = transaction\ndefault_pool_size = 4\n"
        )
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents[:3]:
            parent.chmod(0o755)
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        running.append(
            subprocess.Popen(
                [program, *as_nobody, str(tmp_path / "pgbouncer.ini")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        pooled = f"postgresql://{parts.username}@127.0.0.1:{port}/{name}"

        def responds():
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(pooled, connect_timeout=5).close()
                return True

        wait_until(responds)
        return pooled

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def test_a_pooler_in_transaction_mode_has_no_effect(pooler, start, url):
    pooled = pooler(url)
    first, second = start(DATABASE_URL=pooled), start(DATABASE_URL=pooled)
    users = [first.user(f"Player-{number}") for number in range(5)]

    def update_and_read(value):
        server, player = (first, second)[value % 2], users[value % 5]
        status = server.post(player.token, player.update(value)).status_code
        page = requests.get(f"{server.url}/api/leaderboard?limit=5", timeout=10)
        return status, page.status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(update_and_read, range(200)))

    assert statuses == {(200, 200)}
    assert "prepared statement" not in first.log() + second.log()
