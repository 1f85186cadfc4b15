"""Fixtures that run commands in the process of the tests."""

import pytest


@pytest.fixture
def run(app):
    """Return a function that runs a command that succeeds, and returns its standard output."""

    def run(*arguments, **options):
        result = app.test_cli_runner().invoke(args=arguments, **options)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def fail(app):
    """Return a function that runs a command that fails without a traceback."""

    def fail(*arguments):
        result = app.test_cli_runner().invoke(args=arguments)
        assert result.exit_code in (1, 2), result.output
        assert isinstance(result.exception, SystemExit)
        lines = result.output.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith("database: "))

    return fail
