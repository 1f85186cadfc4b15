"""The stock way: the same scoreboard as a tutorial would write it, with these very packages.

Flask, Flask-SocketIO on eventlet by `socketio.run`, one Flask-SQLAlchemy session and transaction an
update, `@jwt_required`, Flask-Limiter's decorator, a marshmallow schema, one `emit` a message, the
top 10 asked of the database (which has an index for it) with every request. An accepted update is
the same work as ours: a line of log, a row of history, the standing, the top 10 read, the
`score_update` and, if it changed, the `top_10_update`. What ours does on top is not asked of it:
replays, suspensions, revoked tokens, marks, metrics.

Neither crippled nor tuned: every setting is its package's default (SQLite therefore with a rollback
journal), but for two without which it could not be measured at all: limits that nobody reaches, and
more than the 1,024 connections that eventlet's server takes.

    DATABASE_URL=... JWT_SECRET_KEY=... PORT=... python bench/stock.py
"""

import eventlet

eventlet.monkey_patch()

import logging
import os
import uuid
from datetime import UTC, datetime

from flask import Flask, request
from flask_jwt_extended import (
    JWTManager,
    decode_token,
    get_jwt,
    get_jwt_identity,
    jwt_required,
)
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_socketio import ConnectionRefusedError, SocketIO, emit, join_room
from flask_sqlalchemy import SQLAlchemy
from marshmallow import Schema, ValidationError, fields
from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.orm import Mapped, mapped_column

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"].replace(
    "postgresql://", "postgresql+psycopg://"
)
app.config["JWT_SECRET_KEY"] = os.environ["JWT_SECRET_KEY"]
db = SQLAlchemy(app)
jwt = JWTManager(app)
limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
socketio = SocketIO(app, path="/ws/scoreboard", cors_allowed_origins="*")
logging.basicConfig(level=logging.WARNING)
log = logging.getLogger("stock")
log.setLevel(logging.INFO)

ROOM = "scoreboard"
MAY_UPDATE_ANYONE = ("scorer", "admin")


class User(db.Model):
    __tablename__ = "users"
    user_id: Mapped[str] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class Score(db.Model):
    __tablename__ = "scores"
    score_id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), index=True)
    score_value: Mapped[float]
    achieved_at: Mapped[datetime]
    created_at: Mapped[datetime]


class Standing(db.Model):
    __tablename__ = "standings"
    user_id: Mapped[str] = mapped_column(ForeignKey("users.user_id"), primary_key=True)
    score: Mapped[float]
    reached_at: Mapped[datetime]


Index("standings_in_order", Standing.score.desc(), Standing.reached_at, Standing.user_id)


class UpdateSchema(Schema):
    user_id = fields.UUID(required=True)
    score_value = fields.Float(required=True)
    timestamp = fields.AwareDateTime(required=True, default_timezone=UTC)


update_schema = UpdateSchema()
tokens_of_sockets = {}
shown = {}  # the top 10 that was sent last


def read_top10():
    best_first = (Standing.score.desc(), Standing.reached_at, Standing.user_id)
    standings = db.session.scalars(select(Standing).order_by(*best_first).limit(10))
    return [{"user_id": each.user_id, "score": each.score} for each in standings]


def error(status, code, message):
    return {"error": {"code": code, "message": message}}, status


def submit(body, caller, role):
    """Do what the endpoint and the event have in common; return body and status."""
    try:
        update = update_schema.load(body)
    except ValidationError as problem:
        return error(400, "invalid", str(problem.messages))
    user_id = str(update["user_id"])
    if role not in MAY_UPDATE_ANYONE and caller != user_id:
        return error(401, "not_permitted", "This token may not update that user's score.")
    if db.session.get(User, user_id) is None:
        return error(400, "unknown_user", "There is no such user.")
    score = record(user_id, update["score_value"], update["timestamp"])
    present = read_top10()
    log.info("%s set the score of %s to %s", caller, user_id, score.score_value)
    send("score_update", {"user_id": user_id, "new_score": score.score_value})
    if present != shown.get("top_10"):
        shown["top_10"] = present
        send("top_10_update", {"top_10_scores": present})
    return {
        "user_id": user_id,
        "score": score.score_value,
        "score_id": score.score_id,
        "created_at": score.created_at.isoformat(),
        "applied": True,
    }, 200


def record(user_id, value, achieved_at):
    now = datetime.now(UTC).replace(tzinfo=None)
    score = Score(
        user_id=user_id,
        score_value=value,
        achieved_at=achieved_at.astimezone(UTC).replace(tzinfo=None),
        created_at=now,
    )
    db.session.add(score)
    db.session.merge(Standing(user_id=user_id, score=value, reached_at=now))
    db.session.commit()
    return score


def send(kind, data):
    socketio.emit(kind, {"type": kind, "data": data}, to=ROOM)


@app.post("/api/score/update")
@limiter.limit("1000000/minute")
@jwt_required()
def update_score():
    return submit(request.get_json(), get_jwt_identity(), get_jwt()["role"])


@app.get("/api/score/top10")
def top10():
    return {"top_10_scores": read_top10()}


@socketio.on("connect")
def connect(auth):
    try:
        tokens_of_sockets[request.sid] = decode_token(auth["token"])
    except Exception:
        raise ConnectionRefusedError("not_authenticated") from None
    join_room(ROOM)
    emit("top_10_update", {"type": "top_10_update", "data": {"top_10_scores": read_top10()}})


@socketio.on("disconnect")
def disconnect(reason):
    tokens_of_sockets.pop(request.sid, None)


@socketio.on("update_score")
def update_score_event(body):
    claims = tokens_of_sockets[request.sid]
    answer, status = submit(body, claims["sub"], claims["role"])
    return {"status": status, "body": answer}


@app.cli.command("seed")
def seed():
    """Make a thousand players and print their ids."""
    ids = [str(uuid.uuid4()) for _ in range(1000)]
    for number, user_id in enumerate(ids):
        name = f"player-{number}"
        now = datetime.now(UTC).replace(tzinfo=None)
        db.session.add(
            User(user_id=user_id, username=name, email=f"{name}@seed.invalid", created_at=now)
        )
    db.session.commit()
    print(*ids)


if __name__ == "__main__":
    with app.app_context():
        db.create_all()
    socketio.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), max_size=20_000)
