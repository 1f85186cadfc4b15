"""The commands of boards do what the admin endpoints do."""

import pytest

from scoreboard.boards.schemas import changes_schema, new_board_schema
from scoreboard.cli.boards import boards
from scoreboard.db import transactions
from tests.support import databases

WEEKLY = ("boards", "create", "weekly", "--title", "This week", "--source", "main")
RESET = {"every": "week", "on": "monday", "at": "06:00", "time_zone": "Europe/Vienna"}
# An option of each field that may change, and the value in the board object.
FIELDS = [
    ("--title", "Any% speedrun", "title", "Any% speedrun"),
    ("--title", "none", "title", "none"),
    ("--policy", "best", "policy", "best"),
    ("--order", "asc", "order", "asc"),
    ("--format", "time", "format", "time"),
    ("--min-score", "-0.5", "min_score", -0.5),
    ("--max-score", "3600000", "max_score", 3600000),
    ("--submit", "scorer", "submit", "scorer"),
    ("--private", None, "public", False),
    ("--tickets", "20", "tickets", {"min_seconds": 20}),
    ("--opens-at", "2026-01-02T03:04:05+01:00", "opens_at", "2026-01-02T02:04:05Z"),
    ("--closes-at", "2999-01-01T00:00:00Z", "closes_at", "2999-01-01T00:00:00Z"),
    ("--freezes-at", "2999-01-01T00:00:00Z", "freezes_at", "2999-01-01T00:00:00Z"),
    ("--reset", "week monday 06:00 Europe/Vienna", "reset", RESET),
    ("--reset", "day 23:59 UTC", "reset", {"every": "day", "at": "23:59", "time_zone": "UTC"}),
    (
        *("--reset", "month 28 00:00 Asia/Kathmandu", "reset"),
        {"every": "month", "on": 28, "at": "00:00", "time_zone": "Asia/Kathmandu"},
    ),
]
INVALID = [
    (("--title", ""), "title: Must be 1 to 64 characters long."),
    (("--policy", "worst"), "policy: Must be one of: latest, best, total."),
    (("--min-score", "low"), "min_score: Must be a number."),
    (("--max-score", "inf"), "max_score: Must be a number from "),
    (("--opens-at", "Friday"), "opens_at: Must be a time in ISO 8601"),
    (("--min-score", "2", "--max-score", "1"), "max_score: Must not be below min_score."),
    (("--reset", "week monday 06:00"), 'reset: Write it as "day 06:00 ZONE"'),
    (("--reset", ""), 'reset: Write it as "day 06:00 ZONE"'),
    (("--reset", "year 1 06:00 UTC"), "reset: `every` must be day, week or month."),
    (("--reset", "month x 06:00 UTC"), "reset: `on` must be a day of the month"),
    (("--reset", "month 29 06:00 UTC"), "reset: `on` must be a day of the month"),
    (("--reset", "day 24:00 UTC"), "reset: `at` must be a time of day"),
    (("--reset", "day 06:00 Mars/Base"), "reset: `time_zone` must be an IANA name"),
    (("--tickets", "soon"), "tickets: `min_seconds` must be a whole number from 0 to 3600."),
    (("--policy", "none"), "policy: Must be one of"),
]


@pytest.fixture
def read(client):
    """Return a function that reads a board over HTTP, as an admin."""

    def read(board_id, bearer=None):
        return client.get(f"/api/boards/{board_id}", headers=bearer)

    return read


@pytest.mark.parametrize(
    ("command", "schema"), [("create", new_board_schema), ("set", changes_schema)]
)
def test_each_field_has_an_option(command, schema):
    options = {parameter.name for parameter in boards.commands[command].params} - {"board"}

    assert options == schema.fields.keys() - {"board_id"}


def option(name, text):
    return (name,) if text is None else (name, text)


class TestCreate:
    def test_a_board_has_the_defaults_of_the_endpoint(self, run, client, admin, read):
        body = {"board_id": "by-http", "title": "A board"}
        created = client.post("/api/admin/boards", json=body, headers=admin.bearer).json

        run("boards", "create", "by-command", "--title", "A board")

        ignored = ("board_id", "season")
        board = read("by-command").json
        assert {**board, **{name: created[name] for name in ignored}} == created
        assert board["season"]["number"] == 1

    @pytest.mark.parametrize(("name", "text", "field", "value"), FIELDS)
    def test_an_option_sets_its_field(self, run, read, admin, name, text, field, value):
        run("boards", "create", "new", "--title", "New", *option(name, text))

        assert read("new", admin.bearer).json[field] == value

    def test_a_derived_board_counts_the_updates_of_its_source(self, run, client, player):
        run(*WEEKLY)

        client.post("/api/score/update", json=player.update(7), headers=player.bearer)

        (entry,) = client.get("/api/boards/weekly/top10").json["top_10_scores"]
        assert (entry["user_id"], entry["score"]) == (player.user_id, 7)

    @pytest.mark.parametrize(("options", "problem"), INVALID)
    def test_an_invalid_option_is_an_error_in_one_line(self, fail, read, options, problem):
        output = fail("boards", "create", "new", "--title", "New", *options)

        assert output.startswith(f"Error: {problem}")
        assert output.count("\n") == 1
        assert read("new").status_code == 404

    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (("new",), "title: Missing data"),
            (("New!", "--title", "New"), "board_id: Must be 1 to 32 characters"),
            (("main", "--title", "New"), "There is, or was, a board with this id"),
            (("new", "--title", "New", "--source", "nothing"), "source: Unknown board."),
        ],
    )
    def test_a_board_that_cannot_be_is_an_error_in_one_line(self, fail, arguments, problem):
        output = fail("boards", "create", *arguments)

        assert output.startswith(f"Error: {problem}")
        assert output.count("\n") == 1


class TestSet:
    @pytest.fixture(autouse=True)
    def board(self, run):
        run("boards", "create", "new", "--title", "New")

    @pytest.mark.parametrize(("name", "text", "field", "value"), FIELDS)
    def test_an_option_changes_its_field_alone(self, run, read, admin, name, text, field, value):
        before = read("new").json

        run("boards", "set", "new", *option(name, text))

        after = read("new", admin.bearer).json
        assert after[field] == value
        changes_with_it = {"reset": {"season"}, "opens_at": {"state"}}.get(field, set())
        differing = {key for key in before if before[key] != after[key]}
        assert differing <= {field, *changes_with_it}

    @pytest.mark.parametrize("field", ["min-score", "max-score", "opens-at", "closes-at", "reset"])
    def test_none_clears_an_optional_field(self, run, read, field):
        values = {name.strip("-"): text for name, text, *_ in FIELDS}
        run("boards", "set", "new", f"--{field}", values[field])

        run("boards", "set", "new", f"--{field}", "none")

        assert read("new").json[field.replace("-", "_")] is None

    @pytest.mark.parametrize(("options", "problem"), INVALID)
    def test_an_invalid_option_is_an_error_in_one_line(self, fail, read, options, problem):
        before = read("new").json

        output = fail("boards", "set", "new", *options)

        assert output.startswith(f"Error: {problem}")
        assert output.count("\n") == 1
        assert read("new").json == before

    def test_a_fixed_field_after_the_first_score_is_an_error(self, run, fail, client, player):
        update = player.update(7, board="new")
        client.post("/api/score/update", json=update, headers=player.bearer)

        output = fail("boards", "set", "new", "--order", "asc")

        assert output == "Error: This board has scores: its order cannot change any more.\n"

    def test_the_rules_of_main_are_settings(self, run, fail, read):
        output = fail("boards", "set", "main", "--policy", "best")
        run("boards", "set", "main", "--title", "All time")

        assert output == "Error: policy: Set SCORE_POLICY instead.\n"
        assert read("main").json["title"] == "All time"


class TestList:
    def test_each_board_has_a_line_with_main_first(self, run, client, player):
        run(*WEEKLY, "--policy", "best", "--reset", "week monday 06:00 Europe/Vienna")
        run("boards", "create", "closed", "--title", "Later", "--opens-at", "2999-01-01T00:00:00Z")
        client.post("/api/score/update", json=player.update(7), headers=player.bearer)

        lines = run("boards", "list").splitlines()

        ends_at = client.get("/api/boards/weekly").json["season"]["ends_at"]
        assert [" ".join(line.split()) for line in lines] == [
            "main open latest desc season 1, 1 players Scoreboard",
            "closed closed latest desc season 1, 0 players Later",
            f"weekly open best desc of main season 1 until {ends_at}, 1 players This week",
        ]

    def test_boards_that_are_not_public_are_listed(self, run):
        run("boards", "create", "secret", "--title", "Secret", "--private")

        assert [line.split()[0] for line in run("boards", "list").splitlines()] == [
            *("main", "secret")
        ]


def test_end_season_opens_the_next_season(run, client, player):
    run(*WEEKLY)
    client.post("/api/score/update", json=player.update(7), headers=player.bearer)

    output = run("boards", "end-season", "weekly")

    assert output == run("boards", "list").splitlines(keepends=True)[1]
    assert "season 2, 0 players" in output
    ended, current = (
        client.get(f"/api/boards/weekly/top10?season={number}").json["top_10_scores"]
        for number in (1, 2)
    )
    assert ([entry["score"] for entry in ended], current) == ([7], [])


def test_a_board_is_frozen_revealed_and_unfrozen(run, fail, client, player):
    client.post("/api/score/update", json=player.update(7), headers=player.bearer)

    outputs = [run("boards", *command.split()) for command in ("freeze main", "reveal main 1")]

    assert [output.split()[1] for output in outputs] == ["frozen", "open"]
    assert run("boards", "freeze", "main").split()[1] == "frozen"
    assert run("boards", "unfreeze", "main").split()[1] == "open"
    assert fail("boards", "reveal", "main", "all") == "Error: This board is not frozen.\n"
    assert fail("boards", "reveal", "main", "some").startswith("Error: places: Must be a whole")


def test_an_archived_board_is_for_admins_only(run, read, admin):
    run(*WEEKLY)

    assert run("boards", "archive", "weekly") == ""

    assert read("weekly").status_code == 404
    assert read("weekly", admin.bearer).json["state"] == "archived"
    assert "weekly" not in run("boards", "list")


@pytest.mark.parametrize(
    "command", ["set nothing", "end-season nothing", "archive nothing", "freeze nothing"]
)
def test_an_unknown_board_is_an_error_in_one_line(fail, command):
    assert fail("boards", *command.split()) == "Error: There is no board with this id.\n"


@pytest.mark.parametrize("board_id", ["main", "source"])
def test_a_board_that_is_needed_cannot_be_archived(run, fail, board_id):
    run("boards", "create", "source", "--title", "Source")
    run("boards", "create", "derived", "--title", "Derived", "--source", "source")

    assert fail("boards", "archive", board_id).count("\n") == 1


@pytest.mark.parametrize(
    ("command", "act"),
    [
        (WEEKLY, "create-board"),
        (("boards", "set", "existing", "--title", "New"), "change-board"),
        (("boards", "end-season", "existing"), "end-season"),
        (("boards", "archive", "existing"), "archive-board"),
    ],
)
def test_a_command_is_one_audit_line(run, audit_lines, command, act):
    run("boards", "create", "existing", "--title", "Existing")
    earlier = len(audit_lines())

    run(*command)

    (line,) = audit_lines()[earlier:]
    assert (line["event"], line["door"], line["caller"]) == ("moderation", "command line", None)
    assert (line["act"], line["board"]) == (act, command[2])


def test_a_refused_command_is_not_audited(fail, audit_lines):
    fail("boards", "set", "main", "--title", "")

    assert audit_lines() == []


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
class TestOldTables:
    @pytest.fixture
    def database_url(self):
        """Return an empty database, without tables."""
        return databases.new_postgres()

    @pytest.mark.parametrize("command", ["boards list", "users list"])
    def test_a_command_says_that_the_tables_need_an_upgrade(self, fail, command):
        assert not transactions.is_up_to_date()

        output = fail(*command.split())

        assert output.startswith("Error: The tables are those of another version: run `flask")
        assert output.count("\n") == 1
