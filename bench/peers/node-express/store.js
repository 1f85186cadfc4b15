/** The scores in SQLite (better-sqlite3) or Postgres (pg): one transaction per update. */

/** What the databases call a score of an unknown user. */
export const UNKNOWN_USER = ["SQLITE_CONSTRAINT_FOREIGNKEY", "23503"];

const INSERT_SCORE = `
  INSERT INTO scores (user_id, submitter, identity, score_value, achieved_at, created_at)
  VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING score_id`;
const UPDATE_STANDING = `
  INSERT INTO standings AS s (user_id, score, achieved_at, reached_at) VALUES ($1, $2, $3, $4)
  ON CONFLICT (user_id) DO UPDATE SET score = excluded.score, achieved_at = excluded.achieved_at,
    reached_at = CASE s.score WHEN excluded.score THEN s.reached_at ELSE excluded.reached_at END
  WHERE excluded.achieved_at >= s.achieved_at RETURNING score`;
const CURRENT_SCORE = "SELECT score FROM standings WHERE user_id = $1";
const TOP10 = `
  SELECT user_id, score FROM standings ORDER BY score DESC, reached_at, user_id LIMIT 10`;

const scoreOf = (e, now) => [e.userId, e.submitter, e.identity, e.score, e.achievedAt, now];
const standingOf = (e, now) => [e.userId, e.score, e.achievedAt, now];
const receipt = (entry, now, scoreId, applied, score) => ({
  user_id: entry.userId, score, score_id: Number(scoreId), created_at: now, applied,
});

/** Open a database; `record(entry)` returns a receipt, or null for a replay. */
export function openStore(url) {
  return url.startsWith("sqlite:///") ? openSqlite(url.slice(10)) : openPostgres(url);
}

async function openSqlite(path) {
  const { default: Database } = await import("better-sqlite3");
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.pragma("foreign_keys = ON");
  const prepare = (sql) => db.prepare(sql.replace(/\$\d/g, "?"));
  const [insert, update] = [prepare(INSERT_SCORE), prepare(UPDATE_STANDING)];
  const [current, top10] = [prepare(CURRENT_SCORE), prepare(TOP10)];

  const transaction = db.transaction((entry) => {
    const now = new Date().toISOString();
    const inserted = insert.get(scoreOf(entry, now));
    if (!inserted) return null;
    const standing = update.get(standingOf(entry, now));
    const { score } = standing ?? current.get(entry.userId);
    return receipt(entry, now, inserted.score_id, Boolean(standing), score);
  });
  return { record: transaction.immediate, top10: () => top10.all() };
}

async function openPostgres(connectionString) {
  const { default: pg } = await import("pg");
  const pool = new pg.Pool({ connectionString, max: 10 });
  // A query with a name is prepared once per connection.
  const query = async (client, name, text, values) =>
    (await client.query({ name, text, values })).rows;

  const record = async (entry) => {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      const now = new Date().toISOString();
      const [inserted] = await query(client, "insert", INSERT_SCORE, scoreOf(entry, now));
      if (!inserted) return null;
      const [standing] = await query(client, "update", UPDATE_STANDING, standingOf(entry, now));
      const [{ score }] = standing
        ? [standing]
        : await query(client, "current", CURRENT_SCORE, [entry.userId]);
      return receipt(entry, now, inserted.score_id, Boolean(standing), score);
    } finally {
      await client.query("COMMIT"); // a rollback if a statement failed
      client.release();
    }
  };
  return { record, top10: () => query(pool, "top10", TOP10) };
}
