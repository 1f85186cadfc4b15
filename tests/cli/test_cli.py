"""The command line, against the database and against a running server."""

import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select

from scoreboard.auth import accounts, passwords
from scoreboard.db import transactions as database
from scoreboard.models import Score, Standing, User
from tests.support.servers import Server


@pytest.fixture
def run(app):
    """Return a function that runs a command and gives what it prints."""

    def run(*arguments, **options):
        done = app.test_cli_runner().invoke(args=arguments, **options)
        assert done.exit_code == 0, done.output
        return done.output

    return run


@pytest.fixture
def fails(app):
    """Return a function that runs a command that must fail, and gives what it prints."""

    def run(*arguments):
        done = app.test_cli_runner().invoke(args=arguments)
        assert done.exit_code != 0
        assert "Traceback" not in done.output
        return done.output

    return run


def count(table):
    statement = select(func.count()).select_from(table)
    return database.read(lambda connection: connection.execute(statement).scalar())


class TestUsers:
    def test_create_makes_a_user_who_can_sign_in(self, run):
        user_id = run(
            *("users", "create", "Ann", "ann@example.com", "--role", "admin"),
            *("--password", "correct horse"),
        ).strip()

        account = accounts.by_name("ann")
        assert (account.user_id, account.role) == (user_id, "admin")
        assert passwords.matches("correct horse", account.password_hash)

    def test_create_asks_for_the_password(self, run):
        run("users", "create", "Ann", "ann@example.com", input="correct horse\ncorrect horse\n")

        assert passwords.matches("correct horse", accounts.by_name("Ann").password_hash)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("", "ann@example.com"),
            ("Ann", "ann"),
            ("Ann", "ann@example.com", "--role", "king"),
        ],
    )
    def test_create_refuses_what_registration_refuses(self, fails, arguments):
        fails("users", "create", *arguments, "--password", "correct horse")

        assert count(User) == 0

    def test_create_refuses_a_taken_name(self, run, fails):
        run("users", "create", "Ann", "ann@example.com", "--password", "correct horse")

        told = fails("users", "create", "ANN", "b@example.com", "--password", "correct horse")

        assert "taken" in told

    def test_list_shows_everyone(self, run, make_user):
        people = [make_user(role) for role in ("player", "scorer")]

        lines = run("users", "list").splitlines()

        assert [line.split()[:2] for line in lines] == [
            [people[0].user_id, "player"],
            [people[1].user_id, "scorer"],
        ]

    def test_role_changes_what_the_user_may_do(self, run, client, make_user):
        person, other = make_user(name="Ann"), make_user()

        run("users", "role", "Ann", "scorer")

        answer = client.post("/api/score/update", json=other.update(1), headers=person.bearer)
        assert answer.status_code == 200

    def test_token_is_alone_on_its_line_and_works(self, run, client, make_user):
        person = make_user(name="Ann")

        token = run("users", "token", "Ann", "--minutes", "5")

        assert token.count("\n") == 1
        headers = {"Authorization": f"Bearer {token.strip()}"}
        assert client.get("/api/auth/me", headers=headers).json["user_id"] == person.user_id

    @pytest.mark.parametrize("command", [("role", "Nobody", "player"), ("token", "Nobody")])
    def test_an_unknown_name_is_an_error(self, fails, command):
        assert "no user named Nobody" in fails("users", *command)

    def test_seed_prints_the_ids_of_the_players_it_made(self, run):
        user_ids = json.loads(run("users", "seed", "12"))

        assert len(set(user_ids)) == count(User) == 12
        assert count(Score) == 0

    def test_seed_gives_scores_if_asked(self, run, client):
        user_ids = json.loads(run("users", "seed", "12", "--scores"))

        assert count(Score) == count(Standing) == 12
        entries = client.get("/api/score/top10").json["top_10_scores"]
        assert {entry["user_id"] for entry in entries} < set(user_ids)

    def test_seed_can_be_run_again(self, run):
        run("users", "seed", "3")

        assert len(json.loads(run("users", "seed", "3"))) == 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


class TestAgainstAServer:
    def test_simulate_plays_a_game_and_sums_it_up(self, server):
        told = server.flask(
            *("simulate", "--players", "5", "--rate", "40", "--seconds", "1"),
            *("--url", server.url),
        )

        assert "accepted: 40" in told
        assert "latency: p50 " in told
        pushes = int(told.rpartition("pushes received: ")[2])
        assert 41 <= pushes <= 81  # the board at first, a score for each, the board if it changed

    def test_replay_feeds_a_file_and_may_be_run_again(self, server, tmp_path):
        file = tmp_path / "scores.csv"
        file.write_text(
            "timestamp,username,score\n2026-01-01,Côte d'Ivoire,3000001\n2026-01-02,Peru,3000000\n"
        )

        first = server.flask("replay", str(file), "--url", server.url)
        second = server.flask("replay", str(file), "--url", server.url)

        assert "accepted: 2\nthere already: 0" in first
        assert "accepted: 0\nthere already: 2" in second
        assert [entry["score"] for entry in server.top10()[:2]] == [3000001, 3000000]

    def test_replay_takes_a_file_that_begins_with_a_byte_order_mark(self, server, tmp_path):
        file = tmp_path / "excel.csv"
        text = "timestamp,username,score\r\n2026-01-01T00:00:00Z,Excel,1\r\n"
        file.write_bytes(text.encode("utf-8-sig"))

        told = server.flask("replay", str(file), "--url", server.url)

        assert "accepted: 1\n" in told

    def test_replay_posts_a_file_of_several_batches_in_its_order(self, server, tmp_path):
        file = written(
            tmp_path, [("2026-01-01", f"Team {n % 7}", 4000000 + n) for n in range(1200)]
        )

        told = server.flask("replay", str(file), "--url", server.url)

        assert "accepted: 1200\nthere already: 0" in told
        assert [entry["score"] for entry in server.top10()[:7]] == list(range(4001199, 4001192, -1))

    def test_replay_stops_at_a_row_with_an_error_and_says_its_line(self, server, tmp_path):
        rows = [("2026-01-01", "Ann", number) for number in range(600)]
        file = written(tmp_path, [*rows, ("2999-01-01", "Ann", 1), ("2999-01-01", "Ann", 2)])

        with pytest.raises(AssertionError, match="line 602: The timestamp is in the future"):
            server.flask("replay", str(file), "--url", server.url)


def written(folder, rows):
    file = folder / "scores.csv"
    lines = ["timestamp,username,score", *(",".join(map(str, row)) for row in rows)]
    file.write_text("\n".join(lines))
    return file


class TestReplayLimits:
    def test_rows_over_the_limit_are_posted_again_before_later_ones(
        self, run, client, tmp_path, monkeypatch
    ):
        """A server that lets in two of each user's a batch, and no more after a refusal."""
        accepted, asked, waited = [], [], []

        class Limited:
            def __init__(self, url):
                pass

            def post_all(self, token, updates):
                seen, results = Counter(), []
                for update in updates:
                    seen[update["user_id"]] += 1
                    if seen[update["user_id"]] > 2:
                        results.append({"status": 429, "body": {}, "retry_after": len(results)})
                    else:
                        accepted.append((update["user_id"], update["score_value"]))
                        results.append({"status": 200, "body": {}})
                asked.append(max(result.get("retry_after", 0) for result in results))
                return SimpleNamespace(status_code=200, json=lambda: {"results": results})

        monkeypatch.setattr("scoreboard.cli.client.Poster", Limited)
        monkeypatch.setattr(sys.modules["scoreboard.cli.replay"], "TOGETHER", 4)
        monkeypatch.setattr("time.sleep", waited.append)
        names = ["Ann"] * 5 + ["Bob"] * 3 + ["Ann"] * 2
        rows = [("2026-01-01", name, number) for number, name in enumerate(names)]

        told = run("replay", str(written(tmp_path, rows)))

        assert "accepted: 10\nthere already: 0" in told
        for name in ("Ann", "Bob"):
            user_id = accounts.by_name(name).user_id
            assert [score for user, score in accepted if user == user_id] == [
                number for number, each in enumerate(names) if each == name
            ]
        assert waited == asked
        assert any(asked)


class TestReplayFile:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("a,b\n", "the first line must be timestamp,username,score"),
            ("", "the first line must be timestamp,username,score"),
            ("timestamp,username,score\n2026-01-01,Ann,many\n", "line 2"),
            ("timestamp,username,score\n2026-01-01,,1\n", "line 2"),
            ("timestamp,username,score\n2026-01-01\n", "line 2"),
        ],
    )
    def test_a_bad_file_is_refused_with_the_line(self, fails, tmp_path, text, told):
        file = tmp_path / "scores.csv"
        file.write_text(text)

        assert told in fails("replay", str(file))

    @pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
    def test_a_file_of_another_encoding_is_refused(self, fails, tmp_path, encoding):
        file = tmp_path / "scores.csv"
        file.write_text("timestamp,username,score\n2026-01-01,Jürgen,1\n", encoding=encoding)

        assert "is not UTF-8" in fails("replay", str(file))

    def test_a_server_that_does_not_answer_is_said_so(self, fails, tmp_path):
        file = tmp_path / "scores.csv"
        file.write_text("timestamp,username,score\n2026-01-01,Ann,1\n")

        assert "is it running?" in fails("replay", str(file), "--url", "http://127.0.0.1:1")
