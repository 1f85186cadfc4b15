"""Generate updates to post, each with a unique value."""

import json
import random
from datetime import UTC, datetime, timedelta

BITS = 24


class Updates:
    """JSON bodies of updates with random players and values, from a fixed seed.

    With a thousand players, about 2 % change the top 10. The lowest `BITS` bits of a value are the
    number of the update, which identifies it in a push and in the database. All have the same
    timestamp, for which the later arrival wins, so each is applied in any order. With a board, the
    updates name it.
    """

    def __init__(self, players, board=None):
        self._players = players
        self._fields = {"board": board} if board else {}
        self._random = random.Random(4)
        self._timestamp = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        self.created = 0  # also the number of the next update

    def one_per_player(self):
        """Return the body of an update for each player, so that all have a score."""
        return [self._body(player) for player in self._players]

    def next(self):
        """Return the body of the next update."""
        return self._body(self._random.choice(self._players))

    def _body(self, player):
        value = self._random.randrange(1_000_000) << BITS | self.created
        self.created += 1
        update = {"user_id": player, "score_value": value, "timestamp": self._timestamp}
        return json.dumps(update | self._fields).encode()


def number_of(value):
    """Return the number of the update that set this value."""
    return int(value) & ((1 << BITS) - 1)
