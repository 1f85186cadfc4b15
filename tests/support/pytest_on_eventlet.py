"""Run tests on eventlet, the loop of `python wsgi.py`.

python -m tests.support.pytest_on_eventlet tests/...
"""

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import eventlet

    eventlet.monkey_patch()

    import os
    import sys

    import pytest

    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"
    sys.exit(pytest.main(["-n0", *sys.argv[1:]]))
