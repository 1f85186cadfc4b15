"""What cannot work is refused at the start, with one line that says what to do."""

import subprocess
import sys

import psycopg
import pytest

from scoreboard.extensions import db
from scoreboard.ops import doctor
from tests.support import databases
from tests.support.servers import ROOT, SECRETS

SOUND = {
    "DYNO": "",
    "REDIS_URL": "",
    "ALLOW_SQLITE": False,
    "TRUSTED_PROXIES": 0,
    "WEB_CONCURRENCY": "",
    "SQLALCHEMY_DATABASE_URI": "sqlite:///x.db",
    "JWT_SECRET_KEY_PREVIOUS": "",
    **SECRETS,
}
ON_POSTGRES = {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg:///x"}


@pytest.mark.parametrize(
    ("check", "settings", "advice"),
    [
        (doctor.second_process, {}, None),
        (doctor.second_process, {"DYNO": "web.1"}, None),
        (doctor.second_process, {"DYNO": "web.2"}, "REDIS_URL"),
        (doctor.second_process, {"DYNO": "web.12"}, "REDIS_URL"),
        (doctor.second_process, {"DYNO": "web.2", "REDIS_URL": "redis://x"}, None),
        (doctor.second_process, {"DYNO": "release.2"}, None),
        (doctor.ephemeral_disk, {}, None),
        (doctor.ephemeral_disk, {"DYNO": "web.1"}, "DATABASE_URL"),
        (doctor.ephemeral_disk, {"DYNO": "web.1", "ALLOW_SQLITE": True}, None),
        (doctor.ephemeral_disk, {"DYNO": "web.1", **ON_POSTGRES}, None),
        (doctor.weak_secrets, {}, None),
        (doctor.weak_secrets, {"SECRET_KEY": "changeme"}, "SECRET_KEY is weak"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": "x" * 31}, "JWT_SECRET_KEY is weak"),
        (doctor.weak_secrets, {"SECRET_KEY": "change-me-" * 5}, "SECRET_KEY is from an example"),
        (
            doctor.weak_secrets,
            {"JWT_SECRET_KEY": "a-string-secret-at-least-256-bits-long"},
            "JWT_SECRET_KEY is from an example",
        ),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": SECRETS["SECRET_KEY"]}, "must not be the same"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY": ""}, "JWT_SECRET_KEY is weak"),
        (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": "p" * 32}, None),
        (doctor.weak_secrets, {"JWT_SECRET_KEY_PREVIOUS": "p" * 31}, "PREVIOUS is weak: leave it"),
        (
            doctor.weak_secrets,
            {"JWT_SECRET_KEY_PREVIOUS": "change-me-" * 5},
            "PREVIOUS is from an example: leave it",
        ),
        *[
            (
                doctor.weak_secrets,
                {"JWT_SECRET_KEY_PREVIOUS": SECRETS[name]},
                f"JWT_SECRET_KEY_PREVIOUS must not be the same as {name}",
            )
            for name in ("SECRET_KEY", "JWT_SECRET_KEY")
        ],
        (doctor.concurrency, {}, None),
        (doctor.concurrency, {"WEB_CONCURRENCY": "4"}, "changes nothing"),
        (doctor.hidden_client_addresses, {}, None),
        (doctor.hidden_client_addresses, {"DYNO": "web.1"}, "TRUSTED_PROXIES=1"),
        (doctor.hidden_client_addresses, {"DYNO": "web.1", "TRUSTED_PROXIES": 1}, None),
    ],
)
def test_a_setting_that_cannot_work_is_found(check, settings, advice):
    found = check({**SOUND, **settings})

    assert (advice in found) if advice else found is None


def test_a_server_with_another_async_mode_is_found():
    assert doctor.wrong_server("threading") is None
    assert "python wsgi.py" in doctor.wrong_server("eventlet")


def test_another_project_s_server_is_refused(tmp_path):
    """A stand-in with its name: all that such a server does at first is to import the app."""
    (tmp_path / "gunicorn").write_text("import wsgi")
    settings = {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"}

    done = run(str(tmp_path / "gunicorn"), **settings)

    assert done.returncode == 1
    assert done.stderr.startswith("scoreboard: start with `python wsgi.py`")


def test_postgres_waited_for_below_the_loop_is_found():
    late = (
        "import eventlet; eventlet.monkey_patch()\n"
        "from scoreboard import create_app, doctor\n"
        "create_app(); print(doctor.wrong_server('eventlet'))"
    )

    done = run("-c", late, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")

    assert done.stdout.startswith("start with `python wsgi.py`")


def run(*command, **settings):
    environment = {**SECRETS, "PATH": "/usr/bin:/bin", "PORT": "0", **settings}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("command", [("wsgi.py",), ("-m", "flask", "run", "--port", "0")], ids=str)
def test_the_start_is_refused_with_one_line(tmp_path, command):
    done = run(*command, DATABASE_URL=f"sqlite:///{tmp_path}/x.db", DYNO="web.2")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "scoreboard: this is a second web process: add Redis (REDIS_URL) or scale to one"
    )
    assert "Traceback" not in done.stderr


def test_tables_of_another_version_are_refused():
    done = run("wsgi.py", DATABASE_URL=databases.new_postgres())

    assert done.returncode == 1
    assert done.stderr.strip() == "scoreboard: run `flask --app scoreboard db upgrade`"


def test_other_commands_are_not_refused(tmp_path):
    done = run(
        *("-m", "flask", "--app", "scoreboard", "users", "list"),
        DATABASE_URL=f"sqlite:///{tmp_path}/x.db",
        DYNO="web.2",
    )

    assert done.returncode == 0


class TestCommand:
    def test_all_well_is_a_table_and_status_0(self, app):
        done = app.test_cli_runner().invoke(args=["doctor"])

        assert done.exit_code == 0
        assert [line[:20].rstrip() for line in done.output.splitlines()] == [
            "second process  ok",
            "disk            ok",
            "secrets         ok",
            "addresses       ok",
            "secrets' text   ok",
            "database        ok",
            "encoding        ok",
            "connections     ok",
            "tables          ok",
            "redis           ok",
        ]

    @pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
    @pytest.mark.parametrize("settings", [{"DATABASE_POOL_SIZE": "5"}])
    def test_connections_are_compared_with_what_the_database_allows(self, app):
        with psycopg.connect(db.engine.url.render_as_string().replace("+psycopg", "")) as admin:
            admin.execute(f"ALTER DATABASE {db.engine.url.database} CONNECTION LIMIT 17")

        done = app.test_cli_runner().invoke(args=["doctor"])

        assert "3 processes of 5 connections each fit into 17" in done.output

    @pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
    @pytest.mark.parametrize("settings", [{"DATABASE_POOL_SIZE": "5"}])
    def test_a_database_with_too_few_connections_is_a_problem(self, app):
        with psycopg.connect(db.engine.url.render_as_string().replace("+psycopg", "")) as admin:
            admin.execute(f"ALTER DATABASE {db.engine.url.database} CONNECTION LIMIT 3")

        done = app.test_cli_runner().invoke(args=["doctor"])

        assert done.exit_code == 1
        assert "the database allows 3 connections: set DATABASE_POOL_SIZE below" in done.output

    @pytest.mark.parametrize("settings", [{"JWT_SECRET_KEY": "k" * 48}])
    def test_a_secret_that_repeats_one_character_is_a_problem(self, app):
        done = app.test_cli_runner().invoke(args=["doctor"])

        assert done.exit_code == 1
        assert "JWT_SECRET_KEY repeats one character" in done.output

    @pytest.mark.parametrize("settings", [{"DYNO": "web.2", "REDIS_URL": "redis://127.0.0.1:1"}])
    def test_a_problem_is_status_1_with_what_to_do(self, app):
        done = app.test_cli_runner().invoke(args=["doctor"])

        assert done.exit_code == 1
        assert "REDIS_URL does not answer" in done.output
        assert "Traceback" not in done.output
