"""Monitor: attempts, connections and audit lines, of all processes if they share a Redis."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from ..db import transactions
from ..http import json
from ..http.fields import UUID
from ..models import User
from ..observability.recent import periods
from ..services import services
from . import schemas

# Minutes in each entry, by the hours that an overview shows.
STEPS = {1: 1, 24: 30}


def overview(query: dict[str, str]) -> dict[str, Any]:
    """Return the attempts of the last `hours` in the query, the processes and their connections.

    Waits for Redis, briefly. Raises InvalidInput.
    """
    hours = schemas.overview_query_schema.load(query)["hours"]
    step, activity = STEPS[hours], services().activity
    redis, counts, processes = activity.overview(hours)
    now = services().recent.now()
    minutes = [
        {
            "minute": datetime.fromtimestamp(start * 60, UTC),
            "accepted": codes.pop("accepted", 0),
            "refused": codes,
        }
        for start, codes in periods(counts, now, hours, step).items()
    ]
    connections: Counter[str] = Counter()
    for each in processes:
        connections.update(each["connections"])
    return {
        "redis": redis,
        "process": activity.process(),
        "processes": processes,
        "step": step,
        "minutes": minutes,
        "connections": connections,
    }


def audit_tail(query: dict[str, str]) -> dict[str, Any]:
    """Return the newest audit lines, at most 1,000, in order, and the names of their users.

    With `after` in the query, only lines with a greater `seq`; `process` names the process that
    gave this `seq`, which matters while there is no Redis. Waits for Redis, briefly, and blocks for
    a read. Raises InvalidInput.
    """
    loaded, activity = schemas.audit_query_schema.load(query), services().activity
    redis, numbered = activity.tail(loaded.get("after", 0), loaded.get("process"))
    lines = [{"seq": number, **json.loads(line)} for number, line in numbered]
    ids = {line.get(key) or "" for line in lines for key in ("user_id", "caller")}
    process = activity.process()
    return {"redis": redis, "process": process, "lines": lines, "names": _names(ids)}


def _names(ids: set[str]) -> dict[str, str]:
    """Return the names of the users with these ids; erased and unknown ones have none."""
    # A caller is what the `sub` of a token says, which may be no id.
    user_ids = list(filter(UUID.fullmatch, ids))
    if not user_ids:
        return {}
    named = User.user_id.in_(user_ids), User.username.is_not(None)
    statement = select(User.user_id, User.username).where(*named)
    rows = transactions.read(lambda connection: connection.execute(statement).all())
    return {each.user_id: each.username for each in rows}
