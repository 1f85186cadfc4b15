"""Football results since 1872 as updates, and the messages expected for them.

A win is 3 points, a draw 1. Each team is a user whose score is its total so far.
"""

import csv
import json
from collections import Counter

from tests.support.prerequisites import missing
from tests.support.servers import ROOT

RESULTS = ROOT.parent / "shared" / "data" / "international_results.csv"
MATCHES = 3_000


def all_matches():
    """Return all matches as rows of date, teams and goals."""
    if not RESULTS.exists():
        missing(f"{RESULTS.name} does not exist")
    with RESULTS.open(encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["home_score"].isdigit()]


def matches():
    """Return the last matches, oldest first."""
    return all_matches()[-MATCHES:]


def points(match):
    """Return the points of both teams."""
    home, away = int(match["home_score"]), int(match["away_score"])
    if home == away:
        return {match["home_team"]: 1, match["away_team"]: 1}
    return {match["home_team"]: 3 * (home > away), match["away_team"]: 3 * (away > home)}


class Expected:
    """The messages expected for the updates, computed from the results alone."""

    def __init__(self):
        self.totals = Counter()
        self.reached = {}
        self.messages = [top_10_update([])]

    def update(self, team, user_id, gained):
        """Add the points; return the total."""
        before = self.top10()
        self.totals[user_id] += gained
        if gained or user_id not in self.reached:
            self.reached[user_id] = len(self.messages)
        new_score = self.totals[user_id]
        self.messages.append(
            {"type": "score_update", "data": {"user_id": user_id, "new_score": new_score}}
        )
        if self.top10() != before:
            self.messages.append(top_10_update(self.top10()))
        return new_score

    def top10(self):
        ranked = sorted(self.reached, key=lambda user: (-self.totals[user], self.reached[user]))
        return [{"user_id": user, "score": self.totals[user]} for user in ranked[:10]]


def top_10_update(entries):
    return {"type": "top_10_update", "data": {"top_10_scores": entries}}


def seed(server, count):
    return json.loads(server.flask("users", "seed", str(count)))


def replay(servers, scorer, played):
    """Post the totals after each match to the servers alternately; return what is expected."""
    teams = sorted({team for match in played for team in points(match)})
    user_ids = dict(zip(teams, seed(servers[0], len(teams)), strict=True))
    expected = Expected()
    for number, match in enumerate(played):
        for team, gained in points(match).items():
            server = servers[len(expected.messages) % len(servers)]
            total = expected.update(team, user_ids[team], gained)
            update = {"user_id": user_ids[team], "score_value": total, "timestamp": match["date"]}
            # A team may play twice a day without points: then only the nonce differs.
            status, body = server.send(scorer.token, {**update, "nonce": f"match-{number:06}"})
            assert (status, body["score"]) == (200, total)
    return expected
