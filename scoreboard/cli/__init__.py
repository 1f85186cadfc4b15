"""The command line: `flask --app scoreboard users | boards | export | import | …`."""

from flask import Flask

from .boards import boards
from .doctor import doctor
from .moves import export, import_
from .replay import replay
from .simulate import simulate
from .users import users


def register(app: Flask) -> None:
    """Add these commands to Flask's command line."""
    for command in (users, boards, export, import_, simulate, replay, doctor):
        app.cli.add_command(command)
