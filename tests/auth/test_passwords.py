"""Passwords are hashed in threads of low priority."""

import os
import sys
import threading

import pytest

from scoreboard.auth import passwords


def thread_priority():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_an_error_in_the_thread_reaches_the_caller():
    with pytest.raises(UnicodeEncodeError):
        passwords.hash_password("a lone surrogate: \ud800")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
@pytest.mark.parametrize("name", ["ann", "guest", "nobody"])
def test_a_wrong_password_is_hashed_for_any_name(client, make_user, monkeypatch, name):
    make_user(name="ann", password_hash=passwords.hash_password("correct horse"))
    make_user(name="guest")
    methods, check = [], passwords.check_password_hash

    def check_and_record(password_hash, password):
        methods.append(password_hash.partition("$")[0])
        return check(password_hash, password)

    monkeypatch.setattr(passwords, "check_password_hash", check_and_record)

    response = client.post("/api/auth/login", json={"username": name, "password": "wrong horse"})

    assert response.json["error"]["code"] == "wrong_credentials"
    assert methods == [passwords.hash_password("any").partition("$")[0]]


class TestPriority:
    @pytest.fixture
    def priorities(self, monkeypatch):
        """Return the priority of each hashing thread."""
        found = []
        monkeypatch.setattr(
            passwords, "generate_password_hash", lambda password: found.append(thread_priority())
        )
        return found

    def test_only_the_hashing_thread_has_a_low_priority(self, priorities):
        before = thread_priority()

        passwords.hash_password("a password")

        assert priorities == [passwords.NICE]
        assert thread_priority() == before

    def test_a_password_is_hashed_where_priorities_cannot_be_set(self, priorities, monkeypatch):
        def forbidden(*args):
            raise PermissionError

        monkeypatch.setattr(passwords.os, "setpriority", forbidden)
        passwords.hash_password("a password")

        assert len(priorities) == 1
