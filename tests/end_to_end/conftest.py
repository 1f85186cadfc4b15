"""Fixtures of the end-to-end tests."""

import pytest

from tests.support.servers import Server


@pytest.fixture
def own_server(tmp_path):
    """Return a function that starts a server with these settings, stopped after the test."""
    started = []

    def own_server(*mode, **settings):
        folder = tmp_path / f"own-{len(started)}"
        folder.mkdir()
        started.append(Server(folder, *mode, **settings))
        return started[-1]

    yield own_server
    for server in started:
        server.stop()
