"""The stamps and the settings versions of boards, which change with what a board shows."""

import secrets
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, update

from ..models import BoardVersion


def touch(
    connection: Connection, board_ids: Iterable[str], is_shown: bool = False, **values: Any
) -> None:
    """Give these boards a new stamp, so that no ETag of theirs matches, and set `values`.

    `is_shown` is for a change of the users whom the public sees.
    """
    if is_shown:
        values["shown"] = secrets.token_hex(8)
    connection.execute(
        update(BoardVersion)
        .where(BoardVersion.board_id.in_(list(board_ids)))
        .values(stamp=secrets.token_hex(8), **values)
    )


def change_settings(connection: Connection, ledger_id: str) -> None:
    """Give a ledger, whose boards the transaction changes, a new settings version."""
    of_ledger = update(BoardVersion).where(BoardVersion.board_id == ledger_id)
    connection.execute(of_ledger.values(settings_version=new_settings_version()))


def new_settings_version() -> int:
    """Return a settings version that no cache has yet."""
    # Random: after a restore from a backup, a counter would reach the same numbers again, with
    # other settings than those that processes have cached.
    return secrets.randbits(53)
