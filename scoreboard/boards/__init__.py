"""Boards and seasons: what is ranked, by which rules, and when."""

from flask import Flask

from ..services import services
from .directory import BoardDirectory
from .reads import BoardReads
from .routes import bp
from .service import MAIN_SETTINGS
from .store import BoardStore

__all__ = ["bp", "init_app"]


def init_app(app: Flask) -> None:
    """Create the application's directory of boards and coalescer of their reads."""
    main_settings = {field: app.config[name] for field, name in MAIN_SETTINGS.items()}
    services(app).boards = BoardDirectory(BoardStore(main_settings, app.config["BOARD_TITLE"]))
    services(app).board_reads = BoardReads()
