"""The requests of deliveries: signed JSON, or a message for Discord or Slack."""

import base64
import hashlib
import hmac
import re
import secrets
from typing import Any

import orjson

FORMATS = ("json", "discord", "slack")
PREFIX = "whsec_"
# https://discord.com/developers/docs/resources/webhook#execute-webhook
MAX_DISCORD_LENGTH = 2000
PLACES = 3


def new_secret() -> str:
    """Return a new random secret, in the form of Standard Webhooks."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a request, with its signature.

    They are those of https://www.standardwebhooks.com. `timestamp` is in seconds since the epoch.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def body(format_: str, payload: str) -> bytes:
    """Return the body of a request for a stored payload. Messages mention nobody."""
    if format_ == "json":
        return payload.encode()
    if format_ == "discord":
        content = _text(payload, _escape_for_discord)[:MAX_DISCORD_LENGTH]
        return orjson.dumps({"content": content, "allowed_mentions": {"parse": []}})
    return orjson.dumps({"text": _text(payload, _escape_for_slack), "mrkdwn": False})


def _escape_for_discord(text: str) -> str:
    # A backslash takes the meaning from any ASCII punctuation, as in Markdown.
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _escape_for_slack(text: str) -> str:
    # https://api.slack.com/reference/surfaces/formatting#escaping
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(payload: str, escape: Any) -> str:
    """Return the event in words, one line or a few."""
    event = orjson.loads(payload)
    data = event["data"]
    title, username = escape(data.get("title", "")), escape(_name(data))
    if event["type"] == "season_ended":
        lines = [f"{title}: season {data['season']} has ended."]
        for entry in data["top_10"][:PLACES]:
            score = escape(_score(entry["score"], data["format"]))
            lines.append(f"{entry['rank']}. {escape(_name(entry))}: {score}")
        return "\n".join(lines)
    if event["type"] == "new_leader":
        return f"{title}: {username} leads with {escape(_score(data['score'], data['format']))}."
    if event["type"] == "board_closed":
        return f"{title}: the board is closed."
    if event["type"] == "user_flagged":
        return f"{username} was flagged: {escape(data['rule'])}, {escape(data['detail'])}."
    return "This is a test message of Scoreboard."


def _name(user: dict[str, Any]) -> str:
    """Return the name of a user, which has none once it is hidden or erased."""
    return user.get("username") or "A user"


def _score(score: float, format_: str) -> str:
    """Return a score as people read it: milliseconds as 1:02:03.456 where they are a time."""
    if format_ != "time":
        return f"{score:,}"
    seconds, thousandths = divmod(round(abs(score)), 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    clock = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{'-' if score < 0 else ''}{clock}:{seconds:02}.{thousandths:03}"
