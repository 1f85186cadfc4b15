"""Admins create, change, test and delete webhooks; secrets are shown once and never logged."""

import pytest

from tests.support.responses import status_and_code

HOOK = {"url": "https://hooks.example/1", "events": ["new_leader"]}


def test_the_secret_is_in_the_response_that_creates_the_webhook_only(administer):
    created = administer("POST", "/webhooks", HOOK).json
    listed = administer("GET", "/webhooks").json["webhooks"]
    changed = administer("PATCH", f"/webhooks/{created['webhook_id']}", {}).json

    assert created.pop("secret").startswith("whsec_")
    assert listed == [created]
    assert changed == created
    expected = {**HOOK, "format": "json", "boards": None, "enabled": True}
    assert expected.items() <= created.items()


def test_a_webhook_can_be_changed(administer, make_webhook):
    path = f"/webhooks/{make_webhook()['webhook_id']}"
    changes = {
        "url": "http://127.0.0.1:8080/x",
        "format": "discord",
        "events": ["board_closed"],
        "boards": ["main"],
        "enabled": False,
    }

    response = administer("PATCH", path, changes)

    assert response.status_code == 200
    assert changes.items() <= administer("GET", "/webhooks").json["webhooks"][0].items()


def test_a_test_event_is_stored_whatever_the_webhook_asks_for(administer, make_webhook, outbox):
    path = f"/webhooks/{make_webhook(['new_leader'])['webhook_id']}"

    response = administer("POST", f"{path}/test")

    assert response.status_code == 201
    assert (response.json["event"], response.json["board"]) == ("test", None)
    assert outbox() == [("test", {})]


def test_deliveries_are_paged(administer, make_webhook):
    path = f"/webhooks/{make_webhook()['webhook_id']}"
    ids = [administer("POST", f"{path}/test").json["delivery_id"] for _ in range(3)]

    first = administer("GET", f"{path}/deliveries?limit=2").json["deliveries"]
    rest = administer("GET", f"{path}/deliveries?limit=2&before={ids[1]}").json["deliveries"]

    assert [each["delivery_id"] for each in first + rest] == ids[::-1]


@pytest.mark.parametrize(
    "fields",
    [
        *({"url": url} for url in ("", "x", "ftp://a.example/", "https://", "https:///x", 7)),
        *({"url": f"https://{rest}"} for rest in ("u:p@a.example/", "a.example/#x", "a b/", "[1]")),
        *({"url": f"https://{rest}"} for rest in ("a.example:0/", "a.example:99999/", "ä.example")),
        {"url": "https://a.example/" + "x" * 1000},
        *({"events": events} for events in ([], ["other"], "new_leader", None, ["test"])),
        *({"boards": boards} for boards in ([], ["UPPER"], "main", [7])),
        *({"format": value} for value in ("xml", None)),
        {"secret": "mine"},
    ],
    ids=str,
)
def test_bad_input_is_refused(administer, unexpected_errors, fields):
    response = administer("POST", "/webhooks", {**HOOK, **fields})

    assert status_and_code(response) == (400, "invalid_input")
    assert list(response.json["error"]["fields"]) == list(fields)
    assert unexpected_errors == []


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PATCH", "/webhooks/99", "unknown_webhook"),
        ("DELETE", "/webhooks/99", "unknown_webhook"),
        ("POST", "/webhooks/99/test", "unknown_webhook"),
        ("GET", "/webhooks/99/deliveries", "unknown_webhook"),
        ("POST", "/webhooks/99/deliveries/1/replay", "unknown_delivery"),
    ],
)
def test_what_does_not_exist_is_not_found(administer, method, path, code):
    response = administer(method, path, {} if method == "PATCH" else None)

    assert status_and_code(response) == (404, code)


def test_there_are_at_most_20_webhooks(administer, make_webhook):
    for _ in range(20):
        make_webhook()

    response = administer("POST", "/webhooks", HOOK)

    assert status_and_code(response) == (409, "too_many_webhooks")


def test_every_change_is_in_the_audit_log_without_secret_and_url(
    administer, make_webhook, audit_lines, admin, caplog
):
    webhook = make_webhook()
    path = f"/webhooks/{webhook['webhook_id']}"
    delivery = administer("POST", f"{path}/test").json
    administer("POST", f"{path}/deliveries/{delivery['delivery_id']}/replay")
    administer("PATCH", path, {"enabled": False})
    administer("DELETE", path)

    lines = [line for line in audit_lines() if line["event"] == "moderation"]

    actions = [f"{name}-webhook" for name in ("create", "test", "replay", "change", "delete")]
    assert [line["act"] for line in lines] == actions
    assert {line["webhook_id"] for line in lines} == {webhook["webhook_id"]}
    assert {line["caller"] for line in lines} == {admin.user_id}
    assert webhook["secret"] not in caplog.text
    assert "hooks.example" not in caplog.text
