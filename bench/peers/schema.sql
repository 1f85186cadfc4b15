-- The tables of the peers on Postgres. On SQLite, `bigserial` is replaced by `integer`.
CREATE TABLE users (user_id text PRIMARY KEY, username text NOT NULL);
CREATE TABLE scores (
    score_id bigserial PRIMARY KEY,
    user_id text NOT NULL REFERENCES users,
    submitter text NOT NULL,
    identity text NOT NULL,
    score_value double precision NOT NULL,
    achieved_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (user_id, submitter, identity)
);
CREATE TABLE standings (
    user_id text PRIMARY KEY REFERENCES users,
    score double precision NOT NULL,
    achieved_at timestamptz NOT NULL,
    reached_at timestamptz NOT NULL
);
CREATE INDEX ranking ON standings (score DESC, reached_at, user_id);
