"""Flask extensions, unbound: `create_app` binds them to an application."""

from pathlib import Path

from flask import Flask
from flask_cors import CORS
from flask_jwt_extended import JWTManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The base class of every model."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate(db=db, directory=str(Path(__file__).parent.parent / "migrations"))
jwt = JWTManager()
cors = CORS()


def init_app(app: Flask) -> None:
    """Bind the extensions to the application.

    Flask-Limiter and Flask-SocketIO are not here: their objects hold the state of one application,
    so each application has its own, in its `Services`.
    """
    db.init_app(app)
    migrate.init_app(app)
    jwt.init_app(app)
    # Any origin: `middleware.origins` removes the Origin headers that are not allowed.
    cors.init_app(
        app,
        resources="/api/*",
        origins="*",
        always_send=False,
        expose_headers=["ETag", "Retry-After"],
    )
