"""Services: the typed container of the objects that one application is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from flask_limiter import Limiter
    from flask_socketio import SocketIO

    from .anomalies.service import AnomalyDetector
    from .apidocs.documents import ApiDocuments
    from .auth.issuer import Issuer
    from .auth.mail import Mailer
    from .boards.directory import BoardDirectory
    from .boards.reads import BoardReads
    from .concurrency import bounded_queue, coalescer
    from .db.activity import Activity
    from .db.rate_limits import MemoryLimits
    from .db.transactions import Database
    from .http.origins import AllowedOrigins
    from .http.refusal_limiter import RefusalLimiter
    from .leaderboard import service, top10
    from .observability.audit import Attempt
    from .observability.metrics import Metrics
    from .observability.recent import Recent
    from .realtime.connections import Connections
    from .realtime.hub import Subscribers
    from .scores.ledger import Ledgers
    from .webhooks.delivery import Deliverer


class Services:
    """The objects of one application, set by the `init_app` of each package. Nothing is shared."""

    # observability
    metrics: Metrics
    recent: Recent
    attempts_in_progress: set[Attempt]  # shutdown waits for them
    # db
    database: Database
    limiter: Limiter
    rate_limits: MemoryLimits
    activity: Activity
    # http
    origins: AllowedOrigins
    refusal_limiter: RefusalLimiter
    network_url: str = ""  # of this server in the local network, if it listens there
    # auth
    token_checks: coalescer.Coalescer[Any, Any]
    password_queue: bounded_queue.BoundedQueue
    mailer: Mailer
    issuer: Issuer | None
    session_revoked: Callable[..., None]  # token id, time, and a sign-in to keep
    # webhooks
    webhooks: Deliverer
    # boards
    boards: BoardDirectory
    board_reads: BoardReads
    # leaderboard
    top10_cache: top10.Top10Cache
    leaderboard_reads: service.LeaderboardReads
    # scores
    ledgers: Ledgers
    observe_attempt: Callable[[Attempt], object]
    void_lock: threading.Lock  # voids are computed one at a time
    # anomalies
    anomalies: AnomalyDetector
    # realtime
    subscribers: Subscribers
    connections: Connections
    socketio: SocketIO
    # apidocs
    api_documents: ApiDocuments


def init_app(app: Flask) -> None:
    """Give the application its empty container."""
    app.extensions["services"] = Services()


def services(app: Flask | None = None) -> Services:
    """Return the services of this application, by default of the current one."""
    return (app or current_app).extensions["services"]
