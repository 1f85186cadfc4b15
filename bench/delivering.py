"""What it takes to have viewers: CPU a delivery, memory a viewer."""

import contextlib
from dataclasses import dataclass
from statistics import median

from .crowd import Crowd
from .load import HttpClient, Load
from .submitting import Submitted

TOGETHER = 20  # updates in flight where they arrive together
ALONE = 160  # updates that nobody watches, to compare with
TURNS = 4  # of few viewers, whose deliveries are little against the updates themselves
MANY = 1000


@dataclass(frozen=True)
class Spent:
    """CPU seconds of the server in a number of updates, and the deliveries among them."""

    seconds: float
    updates: int
    deliveries: int


def cpu_a_delivery(subject, viewers):
    """Return the microseconds of CPU for one message to one viewer, by updates in flight.

    It is what updates take more than as many updates that nobody watches, measured just before.
    With few viewers the difference is small against either: then it is the median of several turns.
    """
    found = {1: [], TOGETHER: []}
    for _ in range(TURNS if viewers < MANY else 1):
        alone = {volley: _spend(subject, None, volley, ALONE) for volley in found}
        with crowd_of(subject, viewers) as crowd:
            for volley, costs in found.items():
                spent = _spend(subject, crowd, volley, _updates_for(viewers))
                unwatched = alone[volley].seconds / ALONE * spent.updates
                costs.append((spent.seconds - unwatched) / spent.deliveries * 1e6)
            resident = subject.resident_bytes()
    return {volley: median(costs) for volley, costs in found.items()}, resident


@contextlib.contextmanager
def crowd_of(subject, viewers, *kind):
    """Connect these viewers to a server that has nothing else to do, before and after."""
    subject.settle()
    crowd = Crowd(subject, *kind)
    try:
        crowd.grow_to(viewers)
        subject.settle()
        yield crowd
    finally:
        crowd.close()
    subject.settle()


def _updates_for(viewers):
    """Return how many updates to measure by: fewer where each is delivered often."""
    return ALONE if viewers <= 100 else 4 * TOGETHER if viewers <= MANY else TOGETHER


def _spend(subject, crowd, volley, updates):
    """Post updates, so many at a time, and return what the server spent until all was delivered.

    The next are posted once the last are answered and every viewer has them: else the stock way,
    which answers before it has told anyone, would be sent the next while it is still telling of the
    last, and tell of both for the price of one. The CPU time is that of the whole process, with the
    Socket.IO pings of that time, about 40 a second with 1,000 viewers.
    """
    submitted = Submitted(subject)
    clients = [HttpClient(subject) for _ in range(volley)]
    load = Load(clients, submitted.post, submitted.accept)
    if crowd:
        crowd.start_again()
        load.beside(crowd, lambda: crowd.pump(0))
    recorded = len(subject.recorded())
    before = subject.cpu_seconds()
    for volleys in range(1, updates // volley + 1):
        load.run_volley()
        if crowd:
            crowd.wait_for(volleys * volley)
    seconds = subject.cpu_seconds() - before
    load.close()
    submitted.check(recorded)
    messages = crowd.references[0].messages if crowd else 0
    return Spent(seconds, updates, messages * len(crowd or ()))


def memory_a_viewer(subject, viewers, *kind):
    """Return the KiB that each idle viewer adds to the process's resident memory."""
    before = subject.resident_bytes()
    with crowd_of(subject, viewers, *kind):
        return (subject.resident_bytes() - before) / viewers / 1024
