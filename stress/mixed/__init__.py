"""A bounded mixed load of valid and invalid requests of every kind, for the soak test.

The history checker checks only the updates of `stress.workload`. The viewers are not those of
`stress.audience`, which keep every message: too many in an hour.
"""

from .accounts import Accounts, Moderator
from .hostile import Malformed, Nonsense
from .players import Players, Pollers
from .readers import Operators, Readers
from .vanishing import Abandoned, HalfOpen
from .viewing import Stalled, Viewers

EVERYBODY = (
    Players,
    Pollers,
    Viewers,
    Stalled,
    Accounts,
    Moderator,
    Readers,
    Operators,
    Nonsense,
    Malformed,
    HalfOpen,
    Abandoned,
)
