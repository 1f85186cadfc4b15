"""Scoreboard: accepts score updates from authorized users, ranks users and pushes changes."""

from flask import Flask

from config import Config

from . import admin, auth, cli, errors, extensions, middleware, ops, scores, web
from . import apidocs as docs
from .anomalies import service as activity
from .auth import tokens
from .db import transactions as database
from .http.json import OrjsonProvider
from .http.origins import AllowedOrigins
from .http.refusal_limiter import RefusalLimiter
from .leaderboard import service as showing
from .observability import logging as logs
from .ops import doctor
from .realtime import hub as broadcast
from .realtime import maintenance as keeper
from .realtime.socketio import handlers
from .scores import submit as service


def create_app(config: Config | None = None) -> Flask:
    """Return a new, independent application. Raises SettingError for a malformed setting.

    Raises SystemExit if a server calls it and `doctor` finds that this process cannot serve.
    """
    app = Flask(__name__, instance_relative_config=True, static_folder=None)
    app.config.from_object(config or Config.from_environment())
    app.json = OrjsonProvider(app)
    logs.init_app(app)
    extensions.init_app(app)
    database.init_app(app)
    errors.register(app)
    broadcast.init_app(app)
    tokens.init_app(app)
    activity.init_app(app)
    app.extensions["refusal_limiter"] = RefusalLimiter(
        behind_proxy=app.config["TRUSTED_PROXIES"] > 0
    )
    service.init_app(app)
    showing.init_app(app)
    handlers.init_app(app)
    app.extensions["origins"] = AllowedOrigins(app.config["CORS_ORIGINS"])
    middleware.init_app(app)
    keeper.init_app(app)
    cli.register(app)
    blueprints = (auth.bp, scores.bp, scores.leaderboard_bp, admin.bp, ops.bp, docs.bp, web.bp)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    if server := doctor.server_at_hand():
        doctor.refuse_what_cannot_work(app, server)
    return app
