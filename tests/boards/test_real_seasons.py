"""Football results since 1884 as boards: tables of years and decades, and the biggest wins.

One client that knows no boards posts, day by day, the goal difference of each match for both teams.
`main` adds them up, and so do the derived boards `year` and `decade`, whose seasons end with each
year and decade; `wins` keeps the biggest difference of each team. The tables, read over HTTP, must
equal those computed from the file alone.
"""

import itertools
import json
from operator import itemgetter

import pytest
import requests

from tests.support import databases, football

BATCH_SIZE = 1000
FIRST_YEAR = 1884
YEARS = [1884, 1885, 1900, 1915, 1930, 1942, 1966, 1999, 2010, 2019]
DECADES = [1880, 1890, 1910, 1940, 1970, 2000, 2010]
DERIVED = {"year": "total", "decade": "total", "wins": "best"}


class Player:
    """Posts the results to a server, and ends the seasons of its boards."""

    def __init__(self, server, teams):
        self.server = server
        self.session = requests.Session()
        self.scorer, self.admin = server.user("Scorer", "scorer"), server.user("Anna", "admin")
        ids = json.loads(server.flask("users", "seed", str(len(teams))))
        self.user_ids = dict(zip(teams, ids, strict=True))
        self.teams = dict(zip(ids, teams, strict=True))
        for board_id, policy in DERIVED.items():
            board = {"board_id": board_id, "title": board_id, "source": "main", "policy": policy}
            self.post("/api/admin/boards", self.admin, board, 201)

    def post(self, path, user, body, status):
        response = self.session.post(self.server.url + path, json=body, headers=user.bearer)
        assert response.status_code == status, response.text
        return response.json()

    def play(self, differences):
        """Post the differences of a year: number, date, team and difference of each."""
        updates = [
            {
                "user_id": self.user_ids[team],
                "score_value": difference,
                "timestamp": date,
                "nonce": f"difference-{number}",
            }
            for number, date, team, difference in differences
        ]
        for start in range(0, len(updates), BATCH_SIZE):
            batch = {"updates": updates[start : start + BATCH_SIZE]}
            results = self.post("/api/score/batch", self.scorer, batch, 200)["results"]
            assert {result["status"] for result in results} == {200}

    def end_season(self, board_id):
        self.post(f"/api/admin/boards/{board_id}/seasons", self.admin, {}, 201)

    def table(self, board_id, season):
        """Return rank, position, team and score of each entry of a season."""
        url = f"{self.server.url}/api/boards/{board_id}/leaderboard"
        entries, cursor = [], None
        while True:
            query = {"season": season, "limit": 100, "cursor": cursor}
            page = self.session.get(url, params=query).json()
            assert (page["board"], page["season"]) == (board_id, season)
            entries += page["entries"]
            cursor = page["next"]
            if cursor is None:
                break
        return [
            (each["rank"], each["position"], self.teams[each["user_id"]], each["score"])
            for each in entries
        ]


def all_differences():
    """Return number, date, team and goal difference of both teams of each match, by date.

    The matches are the 15,000 of tournaments: all 50,000 would take a minute.
    """
    played = sorted(filter(_is_of_tournament, football.all_matches()), key=itemgetter("date"))
    numbers = itertools.count()
    return [
        (next(numbers), match["date"], team, difference)
        for match in played
        for goals in [int(match["home_score"]) - int(match["away_score"])]
        for team, difference in ((match["home_team"], goals), (match["away_team"], -goals))
    ]


def _is_of_tournament(match):
    return match["tournament"] != "Friendly" and "qualification" not in match["tournament"]


def expected_table(differences, policy):
    """Return what `Player.table` must return after these differences."""
    scores, reached = {}, {}
    for number, _, team, difference in differences:
        before = scores.get(team)
        if before is None:
            after = difference
        else:
            after = before + difference if policy == "total" else max(before, difference)
        if after != before:
            scores[team], reached[team] = after, number
    order = sorted(scores, key=lambda team: (-scores[team], reached[team]))
    ranks = {}
    for position, team in enumerate(order, 1):
        ranks.setdefault(scores[team], position)
    return [
        (ranks[scores[team]], position, team, scores[team])
        for position, team in enumerate(order, 1)
    ]


@pytest.fixture(scope="module")
def differences():
    return all_differences()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def player(request, start, differences):
    """Return the player after the last year, whose season goes on."""
    settings = {"SCORE_POLICY": "total"}
    if request.param == "postgres":
        settings["DATABASE_URL"] = databases.new_database()
    player = Player(start(**settings), sorted({team for _, _, team, _ in differences}))
    years = {
        int(year): list(of_year)
        for year, of_year in itertools.groupby(differences, key=lambda each: each[1][:4])
    }
    for year in range(FIRST_YEAR, max(years) + 1):
        player.play(years.get(year, []))
        if year < max(years):
            player.end_season("year")
            if year % 10 == 9:
                player.end_season("decade")
    return player


@pytest.mark.parametrize("year", YEARS)
def test_the_table_of_a_year(player, differences, year):
    of_year = [each for each in differences if each[1].startswith(str(year))]

    assert player.table("year", year - FIRST_YEAR + 1) == expected_table(of_year, "total")


@pytest.mark.parametrize("decade", DECADES)
def test_the_table_of_a_decade(player, differences, decade):
    of_decade = [each for each in differences if each[1].startswith(str(decade)[:3])]

    season = (decade - FIRST_YEAR // 10 * 10) // 10 + 1
    assert player.table("decade", season) == expected_table(of_decade, "total")


@pytest.mark.parametrize(("board_id", "policy"), [("main", "total"), ("wins", "best")])
def test_the_table_of_all_years(player, differences, board_id, policy):
    assert player.table(board_id, 1) == expected_table(differences, policy)


def test_each_year_and_decade_is_one_season(player, differences):
    last = int(differences[-1][1][:4])
    url = f"{player.server.url}/api/boards/{{}}/seasons"

    for board_id, count in (
        ("year", last - FIRST_YEAR + 1),
        ("decade", last // 10 - FIRST_YEAR // 10 + 1),
        ("main", 1),
    ):
        seasons = requests.get(url.format(board_id), timeout=10).json()["seasons"]
        assert [each["number"] for each in seasons] == list(range(count, 0, -1))
        for later, earlier in itertools.pairwise(seasons):
            assert earlier["ends_at"] == later["starts_at"]
