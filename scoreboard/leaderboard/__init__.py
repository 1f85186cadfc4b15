"""The order of the users: the top 10, pages, ranks and neighbours."""

from .routes import bp
from .service import init_app

__all__ = ["bp", "init_app"]
