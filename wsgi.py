"""The application for every server, and the server of `python wsgi.py`.

`flask run` imports `app` from here and serves it with threads: only as the program itself does
this file patch the standard library for eventlet, and before anything else is imported.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - says so in one line, instead of a traceback
    raise SystemExit("scoreboard: needs Python 3.11 or newer")

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import eventlet

    eventlet.monkey_patch()

    import os

    # Else psycopg waits for Postgres below eventlet, and everybody with it.
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"

from scoreboard import create_app

app = create_app()

if __name__ == "__main__":
    from scoreboard import server

    server.run(app)
