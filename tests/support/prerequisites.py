"""Programs and packages that some tests need."""

import os

import pytest


def missing(reason: str) -> None:
    """Skip the test for want of something; where CI is set nothing may be wanting."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
