"""Check that a measured server implements the core of the contract."""

import uuid

from tests.support.subscribers import SocketIoClient

from .clients import MeasurementFailed
from .servers import token

TIMESTAMP = "2020-01-01T00:00:00Z"  # older than that of the measured updates


def check_contract(server):
    """Raise MeasurementFailed unless updates, refusals and pushes are as documented."""
    player, other = server.players[:2]

    def expect(status, bearer, update, **fields):
        response = server.post(bearer, update)
        body = response.json()
        body = body.get("error", body)
        if response.status_code != status or not fields.items() <= body.items():
            raise MeasurementFailed(f"{update} returned {response.status_code}: {body}")

    connection = SocketIoClient(server.url, server.scorer_token)
    response = connection.submit(_update(player, 6))
    if response["status"] != 200:
        raise MeasurementFailed(f"an event returned {response}")
    pushed = {"type": "score_update", "data": {"user_id": player, "new_score": 6}}
    connection.wait_for(lambda messages: pushed in messages)
    connection.close()
    update = _update(player, 5)
    expect(200, server.scorer_token, update, user_id=player, score=5, applied=True)
    expect(400, server.scorer_token, update, code="replayed")
    expect(400, server.scorer_token, update | {"score_value": "7"})
    expect(200, server.scorer_token, _update(player, 9, "2019-01-01T00:00:00Z"), applied=False)
    expect(401, token(other, "player"), update)
    expect(200, token(player, "player"), _update(player, 8))


def _update(user_id, score, timestamp=TIMESTAMP):
    """Return the body of an update that is not a replay."""
    nonce = uuid.uuid4().hex
    return {"user_id": user_id, "score_value": score, "timestamp": timestamp, "nonce": nonce}
