"""Requests that many tests send."""

UNKNOWN_ID = "00000000-0000-4000-8000-999999999999"


def submit(client, user, update):
    """Post an update with the user's token; return the response."""
    return client.post("/api/score/update", json=update, headers=user.bearer)


def top10(client):
    """Return the entries of the top 10."""
    return client.get("/api/score/top10").json["top_10_scores"]
