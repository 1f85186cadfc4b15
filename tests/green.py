"""Run tests on eventlet, as `python wsgi.py` runs the server: `python tests/green.py tests/...`."""

if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore", message="\nEventlet is deprecated")

    import eventlet

    eventlet.monkey_patch()

    import os
    import sys
    from pathlib import Path

    import pytest

    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_select"
    sys.path.insert(0, str(Path(__file__).parent.parent))
    sys.exit(pytest.main(["-n0", *sys.argv[1:]]))
