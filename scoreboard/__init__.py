"""Scoreboard: accepts score updates from authorized users, ranks users and pushes changes."""

from flask import Flask

from config import Config

from . import (
    admin,
    anomalies,
    apidocs,
    auth,
    boards,
    cli,
    db,
    extensions,
    http,
    leaderboard,
    middleware,
    observability,
    ops,
    realtime,
    scores,
    services,
    web,
    webhooks,
)
from .ops import doctor
from .realtime import hub
from .scores import submit

BLUEPRINTS = (
    *(auth.bp, scores.bp, leaderboard.bp, boards.bp, admin.bp, ops.bp, apidocs.bp, web.bp),
)


def create_app(config: Config | None = None) -> Flask:
    """Return a new, independent application. Raises SettingError for a malformed setting.

    Under a server, raises SystemExit if the start-up checks (`ops/doctor.py`) find a fatal problem.
    """
    app = Flask(__name__, instance_relative_config=True, static_folder=None)
    app.config.from_object(config or Config.from_environment())
    services.init_app(app)
    observability.init_app(app)
    extensions.init_app(app)
    db.init_app(app)
    http.init_app(app)
    auth.init_app(app)
    webhooks.init_app(app)
    anomalies.init_app(app)
    boards.init_app(app)
    leaderboard.init_app(app)
    hub.init_app(app)
    submit.init_app(app, publish=hub.publish, observe=anomalies.observe)
    realtime.init_app(app)
    apidocs.init_app(app)
    middleware.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    cli.register(app)
    doctor.init_app(app)
    return app
