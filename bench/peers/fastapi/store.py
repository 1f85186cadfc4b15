"""The scores in SQLite (aiosqlite) or Postgres (asyncpg): one transaction per update."""

import asyncio
import re
import sqlite3

import aiosqlite
import asyncpg

INSERT_SCORE = """
    INSERT INTO scores (user_id, submitter, identity, score_value, achieved_at, created_at)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING score_id"""
UPDATE_STANDING = """
    INSERT INTO standings AS s (user_id, score, achieved_at, reached_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (user_id) DO UPDATE SET score = excluded.score, achieved_at = excluded.achieved_at,
    reached_at = CASE s.score WHEN excluded.score THEN s.reached_at ELSE excluded.reached_at END
    WHERE excluded.achieved_at >= s.achieved_at RETURNING score"""
CURRENT_SCORE = "SELECT score FROM standings WHERE user_id = $1"
TOP10 = "SELECT user_id, score FROM standings ORDER BY score DESC, reached_at, user_id LIMIT 10"
UNKNOWN_USER = (sqlite3.IntegrityError, asyncpg.ForeignKeyViolationError)


def open_store(url):
    path = url.removeprefix("sqlite:///")
    return Postgres().open(url) if path == url else Sqlite().open(path)


async def record(row, user_id, submitter, identity, value, achieved_at, now):
    """Return the receipt, or None for a replay; `row` runs a statement in the transaction."""
    inserted = await row(INSERT_SCORE, user_id, submitter, identity, value, achieved_at, now)
    if inserted is None:
        return None
    standing = await row(UPDATE_STANDING, user_id, value, achieved_at, now)
    (score,) = standing or await row(CURRENT_SCORE, user_id)
    return {"score": score, "score_id": inserted[0], "applied": standing is not None}


class Postgres:
    async def open(self, url):
        self._pool = await asyncpg.create_pool(url, min_size=10, max_size=10)
        return self

    async def record(self, *values):
        async with self._pool.acquire() as connection, connection.transaction():
            return await record(connection.fetchrow, *values)

    async def top10(self):
        return await self._pool.fetch(TOP10)


class Sqlite:
    """One connection that writes, one that reads."""

    async def open(self, path):
        self._lock = asyncio.Lock()
        self._reader = await aiosqlite.connect(path)
        self._writer = await aiosqlite.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            await self._writer.execute(f"PRAGMA {pragma}")
        return self

    async def record(self, *values):
        *values, achieved_at, now = values
        times = [each.isoformat(timespec="microseconds") for each in (achieved_at, now)]
        async with self._lock:
            await self._writer.execute("BEGIN IMMEDIATE")
            try:
                return await record(self._row, *values, *times)
            except BaseException:
                await self._writer.rollback()
                raise
            finally:
                await self._writer.commit()

    async def top10(self):
        return await self._reader.execute_fetchall(TOP10)

    async def _row(self, sql, *values):
        rows = await self._writer.execute_fetchall(re.sub(r"\$\d", "?", sql), values)
        return next(iter(rows), None)
