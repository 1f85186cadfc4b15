"""Skip tests whose programs or packages are not installed."""

import os

import pytest


def missing(reason: str) -> None:
    """Skip the test with this reason, or fail it if CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
