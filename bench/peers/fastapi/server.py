"""The scoreboard's contract on FastAPI and python-socketio; every read goes to the database."""

import hashlib
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import jwt
import orjson
import socketio
import uvicorn
from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from store import UNKNOWN_USER, open_store

MAX_SKEW = timedelta(minutes=5)
MAX_SCORE = 2**53 - 1
ROOM = "scoreboard"
Nonce = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
Score = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-MAX_SCORE, le=MAX_SCORE)]

logging.basicConfig(level=logging.WARNING)
log = logging.getLogger("scores")
log.setLevel(logging.INFO)
sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
state = {"shown": None}  # the top 10 that was sent last; the store, once it is open


class Update(BaseModel):
    user_id: UUID
    score_value: Score
    timestamp: datetime
    nonce: Nonce | None = None


def refuse(status, code, message, **more):
    return status, {"error": {"code": code, "message": message, **more}}


def authenticate(token):
    """Return the claims of a valid token, else None."""
    try:
        return jwt.decode(token, os.environ["JWT_SECRET_KEY"], algorithms=["HS256"])
    except jwt.PyJWTError:
        return None


def whole(number):
    """Return a whole number as int, so that JSON shows 120 and not 120.0."""
    return int(number) if number.is_integer() else number


async def read_top10():
    rows = await state["store"].top10()
    return {"top_10_scores": [{"user_id": row[0], "score": whole(row[1])} for row in rows]}


async def submit(update, caller):
    """Process one update of this caller; return status and body."""
    now, timestamp = datetime.now(UTC), update.timestamp
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=UTC)
    if timestamp > now + MAX_SKEW:
        return refuse(400, "timestamp_in_future", "The timestamp is in the future.")
    if caller is None:
        return refuse(401, "not_authenticated", "Send a valid access token.")
    user_id, submitter, role = str(update.user_id), caller["sub"], caller.get("role")
    if role not in ("scorer", "admin") and (role, submitter) != ("player", user_id):
        return refuse(401, "not_permitted", "This token may not update that user's score.")
    value, achieved_at = update.score_value, min(timestamp, now)
    identity = update.nonce or f"{timestamp.isoformat()}={value}"
    try:
        receipt = await state["store"].record(user_id, submitter, identity, value, achieved_at, now)
    except UNKNOWN_USER:
        return refuse(400, "unknown_user", "There is no such user.")
    log.info("%s: score of %s: %s, new: %s", submitter, user_id, value, receipt is not None)
    if receipt is None:
        return refuse(400, "replayed", "This update was accepted before.")
    receipt |= {"user_id": user_id, "score": whole(receipt["score"]), "created_at": now.isoformat()}
    await publish(user_id, receipt["score"])
    return 200, receipt


async def send(kind, data, to=ROOM):
    await sio.emit(kind, {"type": kind, "data": data}, to=to)


async def publish(user_id, score):
    """Send the new score to all viewers, then the top 10 if it has changed."""
    top10 = await read_top10()
    await send("score_update", {"user_id": user_id, "new_score": score})
    if top10 != state["shown"]:
        state["shown"] = top10
        await send("top_10_update", top10)


async def start():
    state["store"] = await open_store(os.environ["DATABASE_URL"])


api = FastAPI()


def respond(status, body):
    return Response(orjson.dumps(body), status, media_type="application/json")


def invalid(error):
    fields = {".".join(map(str, each["loc"])): [each["msg"]] for each in error.errors()}
    return refuse(400, "invalid", "Some fields are missing or malformed.", fields=fields)


api.exception_handler(RequestValidationError)(lambda _request, error: respond(*invalid(error)))


@api.post("/api/score/update")
async def update_score(update: Update, authorization: Annotated[str, Header()] = ""):
    scheme, _, token = authorization.partition(" ")
    return respond(*await submit(update, authenticate(token) if scheme == "Bearer" else None))


@api.get("/api/score/top10")
async def top10(request: Request):
    body = orjson.dumps(await read_top10())
    etag = f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return Response(body, headers={"ETag": etag}, media_type="application/json")


@sio.event
async def connect(sid, _environ, auth):
    caller = authenticate((auth or {}).get("token", ""))
    if caller is None:
        return False
    await sio.save_session(sid, caller)
    await sio.enter_room(sid, ROOM)
    await send("top_10_update", await read_top10(), sid)
    return True


@sio.on("update_score")
async def update_score_by_event(sid, body):
    try:
        status, body = await submit(Update.model_validate(body), await sio.get_session(sid))
    except ValidationError as error:
        status, body = invalid(error)
    return {"status": status, "body": body}


if __name__ == "__main__":
    app = socketio.ASGIApp(sio, api, socketio_path="ws/scoreboard", on_startup=start)
    # Engine.IO sends its own pings, and compression is useless for messages this small.
    websocket = {"ws_ping_interval": None, "ws_per_message_deflate": False}
    http = {"loop": "uvloop", "http": "httptools", "access_log": False, "log_level": "warning"}
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), **http, **websocket)
