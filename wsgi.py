"""Provide the WSGI application `app`; run as a program, serve it with eventlet.

Only when it is run as a program, this file patches the standard library for eventlet, before any
other import. `flask run` imports `app` and serves it with threads.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - one line instead of a traceback
    raise SystemExit("scoreboard: needs Python 3.11 or newer")

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import logging

    import eventlet

    # Recent Pythons have a lock that eventlet cannot replace and reports as an error on standard
    # error. Only `threading` uses it, and no green thread waits for it:
    # https://github.com/eventlet/eventlet/issues/1075
    logging.disable(logging.ERROR)
    eventlet.monkey_patch()
    logging.disable(logging.NOTSET)

    import os

    # By default psycopg waits in C, where eventlet cannot switch, and blocks the whole loop.
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"

from scoreboard import create_app

app = create_app()

if __name__ == "__main__":
    from scoreboard import server

    server.run(app)
