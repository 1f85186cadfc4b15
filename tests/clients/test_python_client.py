"""The Python client, sync and async, on real servers."""

import asyncio
import contextlib
import inspect
import itertools
import queue
import re
import select
import socket
import socketserver
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

import scoreboard_client
from scoreboard_client import (
    AsyncScoreboard,
    BoardUpdate,
    Conflict,
    Invalid,
    NotFound,
    Receipt,
    Scoreboard,
    ScoreUpdate,
    Top10Update,
    Unauthorized,
    Unavailable,
    Update,
    core,
)
from tests.support.servers import PASSWORD, ROOT
from tests.support.tokens import mint

CLIENT = ROOT / "clients" / "python"
TIMEOUT = 30  # seconds to wait for a message
NAMES = (f"Py-{number}" for number in itertools.count())


class SyncClient:
    """The sync client; a thread reads what it watches."""

    def __init__(self, *arguments, **options):
        self.client = Scoreboard(*arguments, **options)
        self.threads = []

    def __getattr__(self, name):
        return getattr(self.client, name)

    def watch(self, *arguments):
        messages = queue.Queue()

        def read():
            try:
                for message in self.client.watch(*arguments):
                    messages.put(message)
            except Exception as error:
                messages.put(error)

        self.threads.append(threading.Thread(target=read, daemon=True))
        self.threads[-1].start()
        while True:
            message = messages.get(timeout=TIMEOUT)
            if isinstance(message, Exception):
                raise message
            yield message

    def close(self):
        self.client.close()
        for thread in self.threads:
            thread.join(TIMEOUT)
            assert not thread.is_alive()


class AsyncClient:
    """The async client; each call runs its event loop until the result."""

    def __init__(self, *arguments, token=None, **options):
        async def source(stale):
            return token(stale)

        self.runner = asyncio.Runner()
        options["token"] = source if callable(token) else token
        self.client = AsyncScoreboard(*arguments, **options)
        self.watches = []

    def __getattr__(self, name):
        value = getattr(self.client, name)
        return value if not callable(value) else lambda *a, **o: self.runner.run(value(*a, **o))

    def leaderboard(self, *arguments, **options):
        async def read():
            return [entry async for entry in self.client.leaderboard(*arguments, **options)]

        return iter(self.runner.run(read()))

    def watch(self, *arguments):
        messages = self.client.watch(*arguments)
        self.watches.append(messages)

        async def read():
            return await asyncio.wait_for(anext(messages), TIMEOUT)

        while True:
            yield self.runner.run(read())

    def close(self):
        for messages in self.watches:
            self.runner.run(messages.aclose())
        self.runner.run(self.client.close())
        self.runner.close()


@pytest.fixture(scope="module")
def server(start):
    """Return a server that sums the scores, so that an update that counts twice shows."""
    return start(SCORE_POLICY="total")


@pytest.fixture(params=[SyncClient, AsyncClient], ids=["sync", "async"])
def connect(request, server):
    """Return a function that creates a client of the server, closed after the test."""
    with contextlib.ExitStack() as clients:

        def connect(url=server.url, **options):
            client = request.param(url, **options)
            clients.callback(client.close)
            return client

        yield connect


@pytest.fixture
def player(server):
    return server.user(next(NAMES))


@pytest.fixture(scope="module")
def admin(server):
    return server.user("Administrator", "admin")


@pytest.fixture
def make_board(server, admin):
    """Return a function that creates a board with these settings and returns its id."""

    def make_board(**settings):
        board_id = next(NAMES).lower()
        body = {"board_id": board_id, "title": "A board", **settings}
        url = f"{server.url}/api/admin/boards"
        response = requests.post(url, json=body, headers=admin.bearer, timeout=10)
        assert response.status_code == 201, response.text
        return board_id

    return make_board


class LossyProxy(socketserver.ThreadingTCPServer):
    """A TCP proxy that loses the response to the next request that contains `to_lose`."""

    daemon_threads = True
    block_on_close = False
    to_lose = None
    lost = 0

    class RequestHandlerClass(socketserver.BaseRequestHandler):
        def handle(self):
            proxy, client, loses = self.server, self.request, False
            with socket.create_connection(proxy.upstream) as upstream:
                other = {client: upstream, upstream: client}
                while True:
                    for source in select.select(list(other), [], [])[0]:
                        data = source.recv(65536)
                        if loses and source is upstream:
                            proxy.lost += 1
                            return
                        if not data:
                            return
                        if proxy.to_lose and proxy.to_lose in data:
                            loses, proxy.to_lose = True, None
                        other[source].sendall(data)

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)
        self.upstream = ("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def proxy(server):
    with LossyProxy(server.port) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


class TestSigningIn:
    def test_a_guest_joins_and_submits(self, connect):
        client = connect()
        user_id = client.join(next(NAMES))

        receipt = client.submit(120)

        assert isinstance(receipt, Receipt)
        assert (receipt.user_id, receipt.score, receipt.applied) == (user_id, 120, True)
        assert (receipt.board, receipt.season) == ("main", 1)

    def test_a_user_signs_in_and_out(self, server, connect):
        name = next(NAMES)
        user = server.user(name)
        client = connect()

        assert client.login(name, PASSWORD) == user.user_id
        client.logout()

        with pytest.raises(Unauthorized) as refused:
            client.submit(1)
        assert refused.value.code == "not_signed_in"

    def test_a_stored_refresh_token_continues_the_sign_in(self, connect):
        stored = []
        user_id = connect(on_refresh=stored.append).join(next(NAMES))

        later = connect(refresh_token=stored[-1], on_refresh=stored.append)

        assert later.submit(1).user_id == user_id
        assert len(set(stored)) == 2

    def test_a_refresh_whose_response_was_lost_is_repeated(self, connect, proxy):
        stored = []
        connect(on_refresh=stored.append).join(next(NAMES))
        client = connect(proxy.url, refresh_token=stored[-1])

        proxy.to_lose = b"/api/auth/refresh"

        assert client.submit(1).score == 1
        assert proxy.lost == 1

    def test_a_refused_token_is_replaced_by_the_source(self, player, connect):
        calls, refused = [], mint(player.user_id, key="another key" * 4)

        def source(stale):
            calls.append(stale)
            return player.token if stale else refused

        assert connect(token=source).submit(2).score == 2
        assert calls == [None, refused]

    def test_a_suspended_user_is_refused_and_its_watch_ends(self, server, admin, connect):
        name = next(NAMES)
        user = server.user(name)
        client = connect()
        client.login(name, PASSWORD)
        messages = client.watch()
        next(messages)

        url = f"{server.url}/api/admin/users/{user.user_id}/suspend"
        requests.post(url, json={}, headers=admin.bearer, timeout=10).raise_for_status()

        for call in (lambda: client.submit(1), lambda: list(messages)):
            with pytest.raises(Unauthorized) as refused:
                call()
            assert refused.value.status == 401
        with pytest.raises(Unauthorized, match="account_suspended"):
            client.login(name, PASSWORD)


def refresh_token(server):
    response = requests.post(
        f"{server.url}/api/auth/join", json={"username": next(NAMES)}, timeout=10
    )
    return response.json()["refresh_token"]


def test_threads_that_need_a_token_share_one_refresh(server):
    refreshed = []
    token = refresh_token(server)

    with (
        Scoreboard(server.url, refresh_token=token, on_refresh=refreshed.append) as client,
        ThreadPoolExecutor(8) as executor,
    ):
        receipts = list(executor.map(client.submit, [1] * 8))

    assert sorted(receipt.score for receipt in receipts) == list(range(1, 9))
    assert len(refreshed) == 1


def test_tasks_that_need_a_token_share_one_refresh(server):
    refreshed = []
    token = refresh_token(server)

    async def submit_at_once():
        async with AsyncScoreboard(
            server.url, refresh_token=token, on_refresh=refreshed.append
        ) as client:
            return await asyncio.gather(*[client.submit(1) for _ in range(8)])

    receipts = asyncio.run(submit_at_once())

    assert sorted(receipt.score for receipt in receipts) == list(range(1, 9))
    assert len(refreshed) == 1


class TestSubmitting:
    def test_a_score_whose_response_was_lost_counts_once(self, player, connect, proxy):
        client = connect(proxy.url, token=player.token)

        proxy.to_lose = b"/api/score/update"
        receipt = client.submit(5)

        assert proxy.lost == 1
        assert (receipt.score, receipt.applied) == (5, True)
        assert client.submit(1).score == 6

    def test_a_score_is_sent_until_a_restarted_server_answers(self, server, player, connect):
        client = connect(token=player.token)
        server.kill()

        with ThreadPoolExecutor(1) as executor:
            started = executor.submit(server.start)
            receipt = client.submit(7)
            started.result()

        assert receipt.score == 7

    def test_an_update_without_a_receipt_can_be_continued(self, player, connect, proxy):
        client = connect(proxy.url, token=player.token, timeout=0)
        proxy.to_lose = b"/api/score/update"
        with pytest.raises(Unavailable) as lost:
            client.submit(3)

        receipt = client.submit_update(lost.value.update)

        assert (lost.value.code, receipt.score) == ("unreachable", 3)
        assert client.submit(1).score == 4

    def test_invalid_input_names_the_fields(self, player, connect):
        with pytest.raises(Invalid) as refused:
            connect(token=player.token).submit(2**60)

        assert (refused.value.code, refused.value.status) == ("invalid_input", 400)
        assert list(refused.value.fields) == ["score_value"]
        assert refused.value.update.score == 2**60

    def test_a_batch_has_a_receipt_or_an_error_for_each_update(self, server, connect, proxy):
        players = [server.user(next(NAMES)) for _ in range(2)]
        scorer = server.user(next(NAMES), "scorer")
        updates = [Update(10 + n, user_id=user.user_id) for n, user in enumerate(players)]
        updates.insert(1, Update(1, user_id="nobody"))

        proxy.to_lose = b"/api/score/batch"
        first, refused, last = connect(proxy.url, token=scorer.token).submit_batch(updates)

        assert proxy.lost == 1
        assert (first.score, last.score) == (10, 11)
        assert (refused.code, refused.update) == ("invalid_input", updates[1])

    def test_a_run_ticket_is_sent_with_the_score(self, player, connect, make_board):
        board = make_board(tickets={"min_seconds": 0})
        client = connect(token=player.token)

        receipt = client.submit(9, board, ticket=client.ticket(board))

        assert (receipt.board, receipt.score) == (board, 9)
        with pytest.raises(Invalid, match="ticket_required"):
            client.submit(9, board)


class TestReading:
    def test_the_lists_have_every_player_in_order(self, server, connect, make_board, monkeypatch):
        board = make_board()
        players = [server.user(next(NAMES)) for _ in range(5)]
        for score, user in enumerate(players):
            server.post(user.token, user.update(score, board=board))
        client = connect(token=players[3].token)
        monkeypatch.setattr(core, "PAGE_SIZE", 2)

        listed = list(client.leaderboard(board))

        assert [entry.score for entry in listed] == [4, 3, 2, 1, 0]
        assert [entry.user_id for entry in listed] == [user.user_id for user in players[::-1]]
        assert client.top10(board) == listed
        standing = client.rank(board=board, around=1)
        assert (standing.entry, standing.total) == (listed[1], 5)
        assert standing.neighbours == listed[:3]

    def test_an_unknown_board_is_not_found(self, connect):
        with pytest.raises(NotFound, match="unknown_board"):
            connect().top10("no-such-board")

    def test_a_taken_name_is_a_conflict(self, server, connect):
        name = next(NAMES)
        server.user(name)

        with pytest.raises(Conflict, match="username_taken"):
            connect().join(name)


class TestWatching:
    def test_an_anonymous_client_receives_every_change(self, server, player, connect, make_board):
        board = make_board()
        messages = connect().watch(board)
        assert next(messages) == Top10Update(board, 1, [])

        server.post(player.token, player.update(6, board=board))

        update, top10 = next(messages), next(messages)
        assert isinstance(update, ScoreUpdate)
        assert (update.board, update.user_id, update.new_score) == (board, player.user_id, 6)
        assert [(entry.rank, entry.score) for entry in top10.entries] == [(1, 6)]

    def test_several_boards_and_their_settings_are_watched(
        self, server, admin, connect, make_board
    ):
        boards = [make_board(), make_board()]
        messages = connect().watch(boards)
        assert [next(messages).board, next(messages).board] == boards

        url = f"{server.url}/api/admin/boards/{boards[1]}"
        requests.patch(url, json={"title": "New"}, headers=admin.bearer, timeout=10)

        update = next(messages)
        assert isinstance(update, BoardUpdate)
        assert (update.board, update.settings["title"]) == (boards[1], "New")

    def test_after_a_restart_the_current_top_10_comes_first(
        self, server, player, connect, make_board
    ):
        board = make_board()
        server.post(player.token, player.update(8, board=board))
        messages = connect().watch(board)
        current = next(messages)

        server.kill()
        server.start()

        assert next(messages) == current
        server.post(player.token, player.update(9, board=board))
        assert next(messages).new_score == 9

    def test_a_token_that_ended_is_replaced_without_a_failed_attempt(self, player, connect, caplog):
        calls = []

        def source(stale):
            calls.append(stale)
            now = time.time()
            return mint(player.user_id, iat=now, exp=now + (300 if stale else 3))

        messages = connect(token=source).watch()

        assert isinstance(next(messages), Top10Update)
        assert isinstance(next(messages), Top10Update)
        assert len(calls) == 2
        assert [each for each in caplog.records if each.name == "scoreboard_client"] == []

    def test_a_token_that_ended_and_has_no_successor_ends_the_watch(self, player, connect):
        token = mint(player.user_id, exp=time.time() + 3)
        messages = connect(token=token).watch()
        next(messages)

        with pytest.raises(Unauthorized, match="token_expired"):
            next(messages)


def test_both_clients_have_the_same_methods():
    methods = [
        {
            name: (inspect.signature(value).parameters if callable(value) else None)
            for name, value in vars(kind).items()
            if not name.startswith("_")
        }
        for kind in (Scoreboard, AsyncScoreboard)
    ]

    assert methods[0] == methods[1]


def test_every_public_name_has_a_docstring():
    names = scoreboard_client.__all__
    assert [name for name in names if not getattr(scoreboard_client, name).__doc__] == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Return a folder with the installed package."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    result = subprocess.run([*pip, *options, str(CLIENT)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (folder / "scoreboard_client" / "py.typed").exists()
    return folder


@pytest.mark.parametrize("number", [0, 1])
def test_a_code_block_of_the_readme_runs_on_the_installed_package(server, installed, number):
    blocks = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    code = blocks[number].replace("http://localhost:5000", server.url)

    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout
