"""The server refuses to start, with one line of advice, with settings that cannot work."""

import subprocess
import sys

import psycopg
import pytest

from scoreboard.extensions import db
from scoreboard.ops import doctor
from tests.support import databases
from tests.support.servers import ROOT, SECRETS

VALID = {
    "DYNO": "",
    "REDIS_URL": "",
    "ALLOW_SQLITE": False,
    "TRUSTED_PROXIES": 0,
    "WEB_CONCURRENCY": "",
    "SQLALCHEMY_DATABASE_URI": "sqlite:///x.db",
    "JWT_SECRET_KEY_PREVIOUS": "",
    "IS_PUBLIC": False,
    "METRICS_TOKEN": "",
    "METRICS_PUBLIC": False,
    **SECRETS,
}
POSTGRES = {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg:///x"}
SAME_AS = "JWT_SECRET_KEY_PREVIOUS must not be the same as "
FLASK = ("-m", "flask", "--app", "scoreboard")
WRONG_SERVER = "start with `python wsgi.py` or with `flask run`, and with nothing imported before"
SECOND_PROCESS = "this is a second web process: add Redis (REDIS_URL) or scale to one"


@pytest.mark.parametrize(
    ("check", "settings", "expected"),
    [
        (doctor.second_process, {}, None),
        (doctor.second_process, {"DYNO": "web.1"}, None),
        (doctor.second_process, {"DYNO": "web.2"}, "REDIS_URL"),
        (doctor.second_process, {"DYNO": "web.12"}, "REDIS_URL"),
        (doctor.second_process, {"DYNO": "web.2", "REDIS_URL": "redis://x"}, None),
        (doctor.second_process, {"DYNO": "release.2"}, None),
        (doctor.second_process, {"WEB_CONCURRENCY": "4"}, "changes nothing"),
        (doctor.ephemeral_disk, {}, None),
        (doctor.ephemeral_disk, {"DYNO": "web.1"}, "DATABASE_URL"),
        (doctor.ephemeral_disk, {"DYNO": "web.1", "ALLOW_SQLITE": True}, None),
        (doctor.ephemeral_disk, {"DYNO": "web.1", **POSTGRES}, None),
        (doctor.weak_secrets, {}, None),
        (doctor.weak_secrets, {"SECRET_KEY": "changeme"}, "SECRET_KEY is weak"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": "x" * 31}, "JWT_SECRET_KEY is weak"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": ""}, "JWT_SECRET_KEY is weak"),
        (doctor.weak_secrets, {"SECRET_KEY": "change-me-" * 5}, "SECRET_KEY is from an example"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": SECRETS["SECRET_KEY"]}, "must not be the same"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": "p" * 32}, None),
        (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": "p" * 31}, "is weak: leave it"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": "change-me-" * 5}, "example: leave it"),
        *(
            (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": SECRETS[name]}, SAME_AS + name)
            for name in ("SECRET_KEY", "JWT_SECRET_KEY")
        ),
        (doctor.hidden_client_addresses, {}, None),
        (doctor.hidden_client_addresses, {"DYNO": "web.1"}, "TRUSTED_PROXIES=1"),
        (doctor.hidden_client_addresses, {"DYNO": "web.1", "TRUSTED_PROXIES": 1}, None),
        (doctor.closed_metrics, {}, None),
        (doctor.closed_metrics, {"IS_PUBLIC": True}, "METRICS_TOKEN"),
        (doctor.closed_metrics, {"IS_PUBLIC": True, "METRICS_TOKEN": "x"}, None),
        (doctor.closed_metrics, {"IS_PUBLIC": True, "METRICS_PUBLIC": True}, None),
    ],
)
def test_a_setting_that_cannot_work_is_found(check, settings, expected):
    result = check({**VALID, **settings})

    assert (expected in result) if expected else result is None


def test_a_server_with_another_async_mode_is_refused():
    assert doctor.wrong_server("threading") is None
    assert "python wsgi.py" in doctor.wrong_server("eventlet")


def run(*command, **settings):
    """Run `python` with this command and these settings."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**SECRETS, "PATH": "/usr/bin:/bin", "PORT": "0", **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_is_refused(result, advice):
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"scoreboard: {advice}"
    assert "Traceback" not in result.stderr


@pytest.fixture
def second_process(tmp_path):
    """Return the settings of a second web process without Redis."""
    return {"DATABASE_URL": f"sqlite:///{tmp_path}/x.db", "DYNO": "web.2"}


@pytest.mark.parametrize("command", [("wsgi.py",), (*FLASK, "run", "--port", "0")], ids=str)
def test_a_second_process_without_redis_does_not_start(second_process, command):
    assert_is_refused(run(*command, **second_process), SECOND_PROCESS)


def test_other_commands_run_with_settings_that_a_server_refuses(second_process):
    assert run(*FLASK, "users", "list", **second_process).returncode == 0


def test_a_server_of_another_project_does_not_start(tmp_path):
    # A substitute of the same name: such a server imports the application first.
    (tmp_path / "gunicorn").write_text("import wsgi")
    settings = {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}

    assert_is_refused(run(str(tmp_path / "gunicorn"), **settings), WRONG_SERVER)


def test_tables_of_another_version_stop_the_start():
    result = run("wsgi.py", DATABASE_URL=databases.new_postgres())

    assert_is_refused(result, "run `flask --app scoreboard db upgrade`")


@pytest.mark.parametrize(("newest", "minutes"), [(1, 1), (2_000_000, 1), (5_000_000, 3)])
def test_before_an_upgrade_of_scores_servers_must_be_stopped_for_some_minutes(newest, minutes):
    url = databases.new_database()
    with psycopg.connect(url) as database:
        database.execute("UPDATE alembic_version SET version_num = '0005'")
        database.execute(
            "INSERT INTO users (user_id, username, name_key, email, role, created_at)"
            " VALUES ('ann', 'Ann', 'ann', 'ann', 'player', now())"
        )
        database.execute(
            "INSERT INTO scores (score_id, user_id, submitted_by, identity, score_value, score,"
            " applied, created_at, achieved_at)"
            " VALUES (%s, 'ann', 'ann', 'x', 1, 1, true, now(), now())",
            [newest],
        )

    start, doctor_ = run("wsgi.py", DATABASE_URL=url), run(*FLASK, "doctor", DATABASE_URL=url)

    advice = (
        "stop all servers, then run `flask --app scoreboard db upgrade`:"
        f" {newest:,} scores take up to about {minutes} min"
    )
    assert_is_refused(start, advice)
    assert doctor_.returncode == 1
    assert f"tables          problem  {advice}\n" in doctor_.stdout


def test_a_start_on_sqlite_upgrades_the_tables_and_logs_what_to_expect(tmp_path):
    settings = {"DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}
    run(*FLASK, "users", "seed", "2", "--scores", **settings)
    run(*FLASK, "db", "downgrade", "0005", **settings)

    upgraded, later = (run(*FLASK, "doctor", **settings) for _ in range(2))

    notice = "upgrading the tables: 2 scores take up to about 1 min"
    assert (upgraded.returncode, upgraded.stderr.count(notice)) == (0, 1)
    assert notice not in later.stderr


def test_a_driver_that_blocks_the_loop_is_found():
    # The driver is imported before the patching.
    script = (
        "import psycopg, eventlet; eventlet.monkey_patch()\n"
        "from scoreboard.ops import doctor\n"
        "print(doctor.wrong_server('eventlet'))"
    )

    assert run("-c", script).stdout.strip() == WRONG_SERVER


@pytest.fixture
def examine(app):
    """Return a function that runs `flask doctor` and returns its exit status and output."""

    def examine():
        result = app.test_cli_runner().invoke(args=["doctor"])
        return result.exit_code, result.stdout

    return examine


def test_without_problems_the_doctor_prints_a_table_with_status_0(examine):
    status, output = examine()

    assert status == 0
    checks = [*doctor.SETTINGS_CHECKS, "secrets' text", "metrics", *doctor.SERVICE_CHECKS]
    assert [line[:18].rstrip() for line in output.splitlines()] == [
        f"{check:15} ok" for check in checks
    ]


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("settings", [{"DATABASE_POOL_SIZE": "5"}])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (17, (0, "ok       3 processes of 5 connections each fit into 17")),
        (3, (1, "problem  the database allows 3 connections: set DATABASE_POOL_SIZE below")),
    ],
)
def test_the_pool_is_compared_with_the_limit_of_the_database(examine, limit, expected):
    url = db.engine.url.render_as_string().replace("+psycopg", "")
    statement = f"ALTER DATABASE {db.engine.url.database} CONNECTION LIMIT "
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"{statement} {limit}")
        status, output = examine()
        admin.execute(f"{statement} -1")

    assert status == expected[0]
    assert expected[1] in output


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"JWT_SECRET_KEY": "k" * 48}, "JWT_SECRET_KEY repeats one character"),
        ({"DYNO": "web.2", "REDIS_URL": "redis://127.0.0.1:1"}, "REDIS_URL does not respond"),
        (
            {
                "SMTP_URL": "smtp://127.0.0.1:1?from=board@example.com",
                "PUBLIC_URL": "https://board.example",
            },
            "SMTP_URL does not respond",
        ),
    ],
)
def test_a_problem_is_printed_with_advice_and_status_1(examine, advice):
    status, output = examine()

    assert status == 1
    assert f"problem  {advice}" in output
    assert "Traceback" not in output
