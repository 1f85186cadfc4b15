"""Exports of a board: CSV that spreadsheets open, and the feed of CTFtime."""

import csv
import io

import pytest

from scoreboard.admin import export as exporter
from tests.support.responses import status_and_code


@pytest.fixture
def export(client, admin):
    """Return a function that requests an export of a board."""

    def export(kind, board="main", **query):
        url = f"/api/admin/boards/{board}/export.{kind}"
        return client.get(url, query_string=query, headers=admin.bearer)

    return export


@pytest.fixture
def enter(client, scorer, make_user):
    """Return a function that gives a new user of this name a score."""

    def enter(name, value):
        update = make_user(name=name).update(value)
        client.post("/api/score/update", json=update, headers=scorer.bearer)

    return enter


def rows(response):
    return list(csv.reader(io.StringIO(response.data.decode("utf-8-sig"))))


class TestCsv:
    def test_it_has_the_board_in_order(self, client, export, enter):
        for name, value in [("Ann", 7), ("بهار", 12.5), ("Bob, Jr.", 7), ("Cat", -3)]:
            enter(name, value)

        response = export("csv")

        header, *found = rows(response)
        assert response.data.startswith(b"\xef\xbb\xbfrank,")
        assert response.mimetype == "text/csv"
        assert response.headers["Content-Disposition"] == "attachment; filename=main.csv"
        assert header == ["rank", "position", "username", "score", "reached_at"]
        assert [row[:4] for row in found] == [
            ["1", "1", "بهار", "12.5"],
            ["2", "2", "Ann", "7"],
            ["2", "3", "Bob, Jr.", "7"],
            ["4", "4", "Cat", "-3"],
        ]
        entries = client.get("/api/leaderboard").json["entries"]
        assert [row[4] for row in found] == [entry["reached_at"] for entry in entries]

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "\uff0b", '"='])
    def test_a_name_is_never_a_formula(self, export, enter, start):
        enter(f"{start}1+1", -7)

        _, row = rows(export("csv"))

        assert row[2:4] == [f"'{start}1+1", "-7"]

    @pytest.mark.parametrize("end", ["=1+1", ' "=1+1"'])
    def test_a_name_is_no_formula_where_semicolons_separate(self, export, enter, end):
        enter(f"a;{end}", 7)

        _, row = rows(export("csv"))

        assert row[2] == f"a;'{end}"

    def test_an_empty_board_has_only_the_header(self, export):
        assert len(rows(export("csv"))) == 1

    @pytest.mark.parametrize("kind", ["csv", "json"])
    def test_all_pages_are_exported(self, export, enter, monkeypatch, kind):
        monkeypatch.setattr(exporter, "PAGE_SIZE", 2)
        for number in range(5):
            enter(f"p{number}", number % 2)

        response = export(kind)

        assert response.is_streamed
        if kind == "csv":
            found = [(row[1], row[2]) for row in rows(response)[1:]]
        else:
            found = [(str(each["pos"]), each["team"]) for each in response.json["standings"]]
        names = ["p1", "p3", "p0", "p2", "p4"]
        assert found == [(str(place), name) for place, name in enumerate(names, 1)]

    def test_an_earlier_season_can_be_exported(self, client, admin, export, enter):
        enter("Ann", 7)
        client.post("/api/admin/boards/main/seasons", headers=admin.bearer)
        enter("Bob", 8)

        assert [row[2] for row in rows(export("csv", season=1))[1:]] == ["Ann"]
        assert [row[2] for row in rows(export("csv"))[1:]] == ["Bob"]

    def test_a_frozen_board_is_exported_as_it_is_now(self, client, admin, export, enter):
        client.post("/api/admin/boards/main/freeze", headers=admin.bearer)
        enter("Ann", 7)

        assert [row[2] for row in rows(export("csv"))[1:]] == ["Ann"]

    def test_an_archived_board_can_be_exported(self, client, admin, export):
        board = {"board_id": "weekly", "title": "Weekly"}
        client.post("/api/admin/boards", json=board, headers=admin.bearer)
        client.delete("/api/admin/boards/weekly", headers=admin.bearer)

        assert export("csv", "weekly").status_code == 200


def test_the_feed_has_the_fields_of_ctftime(export, enter):
    enter("=Ann", 7)

    assert export("json", format="ctftime").json == {
        "standings": [{"pos": 1, "team": "=Ann", "score": 7}]
    }


def test_the_feed_of_an_empty_board_is_empty(export):
    assert export("json").json == {"standings": []}


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_an_unknown_board_is_not_found(export, kind):
    assert status_and_code(export(kind, "nowhere")) == (404, "unknown_board")
