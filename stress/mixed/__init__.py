"""A bounded load of everything that a server meets, good and bad, all at the same time.

The updates that the history checker looks at are of `stress.workload`; viewers are not those of
`stress.audience`, which keep all that they see, too much for an hour.
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
