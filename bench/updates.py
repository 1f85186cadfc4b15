"""Updates to post, each with a unique value."""

import json
import random
from datetime import UTC, datetime, timedelta

BITS = 24


class Updates:
    """The bodies of updates of random players to random values, the same with every run.

    About two in a hundred change the top 10 of a thousand players. The lowest bits of a value are
    the number of the update, by which it is found in a push and in the database. They all have the
    same timestamp, of which the later arrival counts, so each is applied in any order.
    """

    def __init__(self, players):
        self._players = players
        self._random = random.Random(4)
        self._timestamp = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        self._made = 0

    @property
    def made(self):
        """The number of updates so far, which is the number of the next."""
        return self._made

    def everyone_once(self):
        """Return an update for each player: a board on which all have a score."""
        return [self._body(player) for player in self._players]

    def next(self):
        """Return the body of another update."""
        return self._body(self._random.choice(self._players))

    def _body(self, player):
        value = self._random.randrange(1_000_000) << BITS | self._made
        self._made += 1
        update = {"user_id": player, "score_value": value, "timestamp": self._timestamp}
        return json.dumps(update).encode()


def number_of(value):
    """Return the number of the update that set this value."""
    return int(value) & ((1 << BITS) - 1)
