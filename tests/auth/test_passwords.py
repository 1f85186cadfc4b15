"""Passwords are hashed behind everybody else's back, and what goes wrong there is told."""

import os
import sys
import threading

import pytest

from scoreboard.auth import passwords


def own_priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.parametrize("password_hash", [None, passwords.hash_password("another")])
def test_a_wrong_password_and_an_unknown_name_are_wrong(password_hash):
    assert not passwords.matches("a password", password_hash)


def test_the_right_password_is_right():
    assert passwords.matches("a password", passwords.hash_password("a password"))


def test_a_hash_that_cannot_be_made_is_an_error_of_its_own_kind():
    with pytest.raises(UnicodeEncodeError):
        passwords.hash_password("half a pair: \ud800")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells threads apart")
class TestPriority:
    @pytest.fixture
    def priorities(self, monkeypatch):
        """Return the priorities of the threads that hash, as they do."""
        found = []
        monkeypatch.setattr(
            passwords, "generate_password_hash", lambda password: found.append(own_priority())
        )
        return found

    def test_everybody_else_goes_first(self, priorities):
        passwords.hash_password("a password")

        assert priorities == [passwords.NICE]

    def test_whoever_waits_stays_as_important(self, priorities):
        before = own_priority()

        passwords.hash_password("a password")

        assert own_priority() == before

    def test_where_that_is_forbidden_it_is_hashed_all_the_same(self, priorities, monkeypatch):
        def forbidden(*args):
            raise PermissionError

        monkeypatch.setattr(passwords.os, "setpriority", forbidden)
        passwords.hash_password("a password")

        assert len(priorities) == 1
