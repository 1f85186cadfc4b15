"""The top 10 of boards of different sizes."""

import subprocess
import sys
import time
from statistics import median

from serving import SECRETS

from config import Config
from scoreboard import create_app, database
from scoreboard.scores import board

from . import ROOT, wire
from .load import HttpClient
from .subjects import Ours
from .submitting import Submitted

TIMES = 300


SIZES = (1_000, 100_000, 1_000_000)


class Board:
    """A server of ours with a board of this size."""

    def __init__(self, kind, size):
        self.subject = Ours(kind, players=100)
        try:
            self._fill(size)
        except BaseException:
            self.close()
            raise
        settings = {**SECRETS, "DATABASE_URL": self.subject.database}
        self._app = create_app(Config.from_environment(settings))

    def _fill(self, size):
        command = [sys.executable, "-m", "flask", "--app", "scoreboard", "users", "seed"]
        subprocess.run(
            [*command, str(size - len(self.subject.players)), "--scores"],
            cwd=ROOT,
            env=self.subject.environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def close(self):
        self.subject.stop()

    def query_microseconds(self):
        """Return how long the query takes, as the server runs it: the median of many.

        In this process, with nothing of Flask or HTTP around it, and nothing remembered.
        """
        with self._app.app_context():
            return 1e6 * median(_seconds(lambda: database.read(board.top)) for _ in range(TIMES))

    def milliseconds_after_an_update(self):
        """Return how long `GET /api/score/top10` takes right after an update: the median of many.

        Nobody can have remembered the answer, other than from recording the update.
        """
        submitted = Submitted(self.subject)
        poster, asker = HttpClient(self.subject), HttpClient(self.subject)
        for client in (poster, asker):
            client.socket.setblocking(True)
        port, token = self.subject.port, self.subject.scorer_token
        request = wire.request("GET", "/api/score/top10", port, token)
        taken = []
        for _ in range(TIMES):
            submitted.post(poster)
            submitted.accept(*_answer(poster))
            asker.send(request)
            taken.append(_seconds(lambda: _answer(asker)))
        for client in (poster, asker):
            client.socket.close()
        return 1e3 * median(taken)


def _answer(client):
    while not (answers := client.receive()):
        pass
    return answers[0]


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
