"""A bounded load of everything that a server meets, good and bad, all at the same time."""

from .accounts import Accounts, Moderator
from .hostile import Malformed, Nonsense
from .players import Batches, Events, Players
from .readers import Operators, Readers
from .vanishing import Abandoned, HalfOpen
from .viewing import Stalled, Viewers

EVERYBODY = (
    Players,
    Batches,
    Events,
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
