"""Fixtures that run commands in the process of the tests."""

import pytest


@pytest.fixture
def run(app):
    """Return a function that runs a command that succeeds, and returns its output."""

    def run(*arguments, **options):
        result = app.test_cli_runner().invoke(args=arguments, **options)
        assert result.exit_code == 0, result.output
        return result.output

    return run


@pytest.fixture
def fail(app):
    """Return a function that runs a command that fails without a traceback."""

    def fail(*arguments):
        result = app.test_cli_runner().invoke(args=arguments)
        assert result.exit_code in (1, 2), result.output
        assert isinstance(result.exception, SystemExit)
        return result.output

    return fail
