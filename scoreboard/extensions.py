"""Flask extensions, unbound: `create_app` binds them to an application."""

from pathlib import Path

from flask import Flask
from flask_cors import CORS
from flask_jwt_extended import JWTManager
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_migrate import Migrate
from flask_socketio import SocketIO
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """The base class of every model."""


db = SQLAlchemy(model_class=Base)
migrate = Migrate(db=db, directory=str(Path(__file__).parent.parent / "migrations"))
jwt = JWTManager()
limiter = Limiter(get_remote_address)
cors = CORS()
socketio = SocketIO()


def init_app(app: Flask) -> None:
    """Bind the extensions to the application, except Socket.IO: the realtime package binds it."""
    db.init_app(app)
    migrate.init_app(app)
    jwt.init_app(app)
    limiter.init_app(app)
    # Any origin: `middleware.origins` removes the Origin headers that are not allowed.
    cors.init_app(
        app,
        resources="/api/*",
        origins="*",
        always_send=False,
        expose_headers=["ETag", "Retry-After"],
    )
