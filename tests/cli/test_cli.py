"""The command line, against the database and against a running server."""

import functools
import json
import sys
from datetime import UTC, datetime

import pytest
import requests
from sqlalchemy import func, select

from scoreboard.anomalies import flags
from scoreboard.auth import accounts, passwords
from scoreboard.db import transactions
from scoreboard.models import Score, Standing, User
from tests.support.servers import Server
from tests.support.tokens import bearer

CREATE = ("users", "create", "Ann", "ann@example.com")
PASSWORD = ("--password", "correct horse")
HEADER = ("timestamp", "username", "score")


@pytest.fixture
def scores_file(tmp_path):
    """Return a function that writes rows, or text, to a CSV file and returns its path."""

    def write(rows, encoding="utf-8"):
        if not isinstance(rows, str):
            rows = "".join(f"{','.join(map(str, row))}\n" for row in [HEADER, *rows])
        (tmp_path / "scores.csv").write_text(rows, encoding=encoding)
        return str(tmp_path / "scores.csv")

    return write


def count(table):
    statement = select(func.count()).select_from(table)
    return transactions.read(lambda connection: connection.execute(statement).scalar())


class TestUsers:
    def test_create_makes_a_user_with_role_and_password(self, run):
        user_id = run(*CREATE, "--role", "admin", *PASSWORD).strip()

        account = accounts.by_name("ann")
        assert (account.user_id, account.role) == (user_id, "admin")
        assert passwords.matches("correct horse", account.password_hash)

    def test_create_says_where_the_user_signs_in(self, app):
        result = app.test_cli_runner().invoke(args=[*CREATE, *PASSWORD])

        assert "Ann can now sign in at http://localhost:5000 with" in result.stderr

    def test_create_prompts_for_the_password(self, run):
        run(*CREATE, input="correct horse\ncorrect horse\n")

        assert passwords.matches("correct horse", accounts.by_name("Ann").password_hash)

    @pytest.mark.parametrize(
        "arguments",
        [("", "ann@example.com"), ("Ann", "ann"), ("Ann", "ann@example.com", "--role", "king")],
    )
    def test_create_refuses_invalid_input(self, fail, arguments):
        fail("users", "create", *arguments, *PASSWORD)

        assert count(User) == 0

    def test_create_refuses_a_taken_name(self, run, fail):
        run(*CREATE, *PASSWORD)

        assert "taken" in fail("users", "create", "ANN", "b@example.com", *PASSWORD)

    def test_reset_link_prints_a_link_that_sets_the_password(self, run, client, make_user):
        make_user(name="Ann")

        link = run("users", "reset-link", "Ann").splitlines()[-1]

        page, _, token = link.partition("#reset=")
        body = {"token": token, "new_password": "battery staple"}
        assert page == "http://localhost:5000/"
        assert client.post("/api/auth/reset", json=body).status_code == 204

    @pytest.mark.parametrize("settings", [{"PUBLIC_URL": "https://board.example"}])
    def test_reset_link_prints_a_link_below_the_public_url(self, run, make_user):
        make_user(name="Ann")

        link = run("users", "reset-link", "Ann").splitlines()[-1]

        assert link.startswith("https://board.example/#reset=")

    def test_rename_also_gives_a_reserved_name(self, run, make_user):
        user = make_user(name="Ann")

        run("users", "rename", "Ann", "Admin")

        assert accounts.by_name("admin").user_id == user.user_id

    def test_rename_refuses_an_invalid_or_taken_name(self, fail, make_user):
        make_user(name="Ann")
        make_user(name="Bob")

        assert "characters" in fail("users", "rename", "Ann", "x" * 65)
        assert "taken" in fail("users", "rename", "Ann", "BOB")

    def test_delete_erases_the_user_after_a_confirmation(self, run, fail, make_user):
        make_user(name="Ann")

        fail("users", "delete", "Ann")
        assert accounts.by_name("Ann") is not None
        run("users", "delete", "Ann", "--yes")
        assert accounts.by_name("Ann") is None

    def test_list_shows_every_user_with_its_role(self, run, make_user):
        users = [(make_user(role).user_id, role) for role in ("player", "scorer")]

        lines = run("users", "list").splitlines()

        assert [tuple(line.split()[:2]) for line in lines] == users

    def test_token_prints_only_a_valid_token(self, run, client, make_user):
        user = make_user(name="Ann")

        token = run("users", "token", "Ann", "--minutes", "5")

        assert token.count("\n") == 1
        response = client.get("/api/auth/me", headers=bearer(token.strip()))
        assert response.json["user_id"] == user.user_id

    @pytest.mark.parametrize(
        "action", ["hide", "restore", "end-sessions", "suspend", "reinstate", "role scorer"]
    )
    def test_a_moderation_is_one_audit_line(self, run, make_user, audit_lines, action):
        user = make_user(name="Ann")
        command, *role = action.split()

        assert run("users", command, "ann", *role) == ""

        (line,) = audit_lines()
        assert (line["door"], line["caller"]) == ("command line", None)
        assert (line["act"], line["user_id"]) == (action, user.user_id)

    def test_void_voids_a_score(self, run, client, player):
        post = functools.partial(client.post, "/api/score/update", headers=player.bearer)
        post(json=player.update(7))
        receipt = post(json=player.update(900, "2026-01-01T00:01:00Z")).json

        assert run("users", "void", str(receipt["score_id"]), "--reason", "cheated") == ""

        assert client.get("/api/score/top10").json["top_10_scores"][0]["score"] == 7

    def test_marks_lists_the_flags(self, run, make_user):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        flags.write(make_user(name="Ann").user_id, "jump", "a step of 995", moment)

        output = run("users", "marks")

        assert output.split(maxsplit=3) == [
            *("2026-01-01T00:00:00+00:00", "jump", "Ann", "a step of 995\n")
        ]

    @pytest.mark.parametrize("command", ["role Nobody player", "token Nobody", "hide Nobody"])
    def test_an_unknown_name_is_an_error(self, fail, command):
        assert "no user named Nobody" in fail("users", *command.split())

    @pytest.mark.parametrize(
        ("score_id", "reason", "problem"),
        [("1", "cheated", "There is no score"), ("1", "", "reason: "), ("x", "y", "score_id: ")],
    )
    def test_an_invalid_void_is_an_error_in_one_line(self, fail, score_id, reason, problem):
        output = fail("users", "void", score_id, "--reason", reason)

        assert output.startswith(f"Error: {problem}")
        assert output.count("\n") == 1

    def test_seed_creates_players_and_prints_their_ids(self, run):
        user_ids = json.loads(run("users", "seed", "12"))
        more = json.loads(run("users", "seed", "3"))

        assert len({*user_ids, *more}) == count(User) == 15
        assert count(Score) == 0

    def test_seed_creates_scores_on_request(self, run, client):
        user_ids = json.loads(run("users", "seed", "12", "--scores"))

        assert count(Score) == count(Standing) == 12
        entries = client.get("/api/score/top10").json["top_10_scores"]
        assert {entry["user_id"] for entry in entries} < set(user_ids)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def test_simulate_posts_scores_and_prints_a_summary(server):
    output = server.flask(
        "simulate", "--players", "5", "--rate", "40", "--seconds", "1", "--url", server.url
    )

    assert "accepted: 40" in output
    assert "latency: p50 " in output
    pushes = int(output.rpartition("pushes received: ")[2])
    assert 41 <= pushes <= 81  # the first top 10; for each score one, and one more if it changed


def test_simulate_posts_to_the_source_of_a_derived_board_and_watches_the_board(server):
    create = ("boards", "create", "--title", "A board")
    server.flask(*create, "game", "--min-score", "-1")
    server.flask(*create, "daily", "--source", "game", "--reset", "day 00:00 UTC")

    output = server.flask(
        *("simulate", "--players", "5", "--rate", "40", "--seconds", "1"),
        *("--board", "daily", "--url", server.url),
    )

    assert "accepted: 40" in output
    # In addition to the messages above, one if a season ends now, and its empty list.
    assert 41 <= int(output.rpartition("pushes received: ")[2]) <= 83
    for board, players in (("game", 5), ("daily", 5)):
        name = f"/api/boards/{board}/leaderboard"
        total = requests.get(server.url + name, timeout=10).json()["total"]
        assert total == players


def test_simulate_of_an_unknown_board_creates_no_player(fail):
    assert fail("simulate", "--board", "nothing") == "Error: There is no board with this id.\n"
    assert count(User) == 0


class TestReplay:
    def test_a_file_can_be_replayed_again_without_effect(self, server, scores_file):
        file = scores_file([("2026-01-01", "Côte d'Ivoire", 3e6), ("2026-01-02", "Peru", 2e6)])

        first, second = (server.flask("replay", file, "--url", server.url) for _ in range(2))

        assert "accepted: 2\nalready posted: 0" in first
        assert "accepted: 0\nalready posted: 2" in second
        assert [entry["score"] for entry in server.top10()[:2]] == [3e6, 2e6]

    def test_the_rows_are_posted_to_the_board(self, server, scores_file):
        server.flask("boards", "create", "history", "--title", "History", "--policy", "total")
        file = scores_file([("2026-01-01", "Iris", 3), ("2026-01-02", "Iris", 4)])
        before = server.top10()

        output = server.flask("replay", file, "--board", "history", "--url", server.url)

        assert "accepted: 2\nalready posted: 0" in output
        board = requests.get(f"{server.url}/api/boards/history/top10", timeout=10).json()
        assert [(each["username"], each["score"]) for each in board["top_10_scores"]] == [
            ("Iris", 7)
        ]
        assert server.top10() == before

    @pytest.mark.parametrize(
        ("board", "problem"),
        [
            ("nothing", "line 2: There is no board with this id."),
            ("derived", "line 2: This board takes its scores from the board main."),
        ],
    )
    def test_a_board_that_takes_no_updates_is_an_error(self, server, scores_file, board, problem):
        file = scores_file([("2026-01-01", "Ann", 1)])
        if board == "derived":
            server.flask("boards", "create", board, "--title", "Derived", "--source", "main")

        with pytest.raises(AssertionError, match=problem):
            server.flask("replay", file, "--board", board, "--url", server.url)

    def test_a_byte_order_mark_is_ignored(self, server, scores_file):
        file = scores_file([("2026-01-01T00:00:00Z", "Excel", 1)], encoding="utf-8-sig")

        assert "accepted: 1\n" in server.flask("replay", file, "--url", server.url)

    def test_several_batches_are_posted_in_file_order(self, server, scores_file):
        file = scores_file([("2026-01-01", f"Team {n % 7}", 4000000 + n) for n in range(1200)])

        output = server.flask("replay", file, "--url", server.url)

        assert "accepted: 1200\nalready posted: 0" in output
        assert [entry["score"] for entry in server.top10()[:7]] == list(range(4001199, 4001192, -1))

    def test_it_stops_at_a_row_with_an_error_and_names_its_line(self, server, scores_file):
        rows = [("2026-01-01", "Ann", number) for number in range(600)]
        file = scores_file([*rows, ("2999-01-01", "Ann", 1), ("2999-01-01", "Ann", 2)])

        with pytest.raises(AssertionError, match="line 602: The timestamp is in the future"):
            server.flask("replay", file, "--url", server.url)

    def test_rate_limited_rows_are_posted_before_later_ones(
        self, run, database_url, tmp_path, scores_file, monkeypatch
    ):
        server = Server(tmp_path, SCORE_RATE_LIMIT="3/second", DATABASE_URL=database_url)
        monkeypatch.setattr(sys.modules["scoreboard.cli.replay"], "BATCH_SIZE", 4)
        names = ["Ann"] * 5 + ["Bob"] * 3 + ["Ann"] * 2
        rows = [("2026-01-01", name, number) for number, name in enumerate(names)]

        try:
            output = run("replay", scores_file(rows), "--url", server.url)
        finally:
            server.stop()

        assert "accepted: 10\nalready posted: 0" in output
        by_user = User.user_id == Score.user_id
        history = select(User.username, Score.score_value).join_from(Score, User, onclause=by_user)
        posted = transactions.query(history.order_by(Score.score_id), {})
        for name in ("Ann", "Bob"):
            expected = [score for _, player, score in rows if player == name]
            assert [score for player, score in posted if player == name] == expected

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("a,b\n", "the first line must be timestamp,username,score"),
            ("", "the first line must be timestamp,username,score"),
            *(
                (f"timestamp,username,score\n2026-01-01{row}\n", "line 2")
                for row in (",Ann,many", ",Ann,nan", ",,1", "")
            ),
        ],
    )
    def test_an_invalid_file_is_refused_with_the_line(self, fail, scores_file, text, problem):
        assert problem in fail("replay", scores_file(text))

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
    def test_a_file_in_another_encoding_is_refused(self, fail, scores_file, encoding):
        file = scores_file([("2026-01-01", "Jürgen", 1)], encoding)

        assert "is not UTF-8" in fail("replay", file)

    def test_a_server_that_is_not_running_is_an_error(self, fail, scores_file):
        file = scores_file([("2026-01-01", "Ann", 1)])

        assert "is the server running?" in fail("replay", file, "--url", "http://127.0.0.1:1")
