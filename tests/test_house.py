"""The rules of the house that can be checked by reading the code."""

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.routes import PUBLIC_BOARD_ROUTES, PUBLIC_ROUTES
from tests.support.servers import ROOT

PACKAGE = sorted((ROOT / "scoreboard").rglob("*.py"))
TESTS = sorted(path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts)


def name(path):
    return str(path.relative_to(ROOT))


def without_type_checking(tree):
    """Return the module without what only type checkers import: services.py names all rooms."""
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return tree


def imports(path):
    """Return the modules that this file imports when it runs."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    found = set()
    for node in ast.walk(without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = ".".join(
                (*package[: len(package) - node.level + 1], *filter(None, [node.module]))
            )
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def code_of(path):
    """Return the source without docstrings and comments."""
    return ast.unparse(_without_docstrings(ast.parse(path.read_text())))


def _without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


# From the top: a room imports from its own row and the rows below.
LAYERS = (
    {"middleware", "cli", "server"},
    {"web", "admin", "ops", "apidocs"},
    {"realtime", "anomalies"},
    {"scores", "leaderboard"},
    {"auth"},
    {"db", "http", "observability"},
    {"concurrency", "errors", "permissions", "models", "extensions", "services"},
)
ROW = {room: row for row, rooms in enumerate(LAYERS) for room in rooms}


def rooms_imported_by(room):
    """Return the rooms, or modules beside them, that a room imports."""
    files = [path for path in PACKAGE if path.relative_to(ROOT).with_suffix("").parts[1] == room]
    found = set()
    for path in files:
        for module in imports(path):
            parts = module.split(".")
            if parts[0] == "scoreboard" and len(parts) > 1 and parts[1] in ROW:
                found.add(parts[1])
    return found - {room}


def test_every_module_is_in_a_room():
    rooms = {path.relative_to(ROOT).with_suffix("").parts[1] for path in PACKAGE}

    assert rooms == ROW.keys() | {"__init__"}


@pytest.mark.parametrize("room", sorted(ROW))
def test_a_room_imports_only_from_its_own_row_and_below(room):
    assert [other for other in rooms_imported_by(room) if ROW[other] < ROW[room]] == []


def test_no_two_rooms_import_each_other():
    imported = {room: rooms_imported_by(room) for room in ROW}

    assert [
        (room, other)
        for room, others in imported.items()
        for other in others
        if room in imported[other]
    ] == []


def test_only_the_runtime_names_eventlet():
    named = [name(path) for path in PACKAGE if "eventlet" in path.read_text()]

    assert named == ["scoreboard/concurrency/runtime.py"]


# The modules that use private names of a library: Engine.IO, Socket.IO, eventlet.
ADAPTERS = {
    "scoreboard/concurrency/runtime.py",
    "scoreboard/realtime/backplane.py",
    "scoreboard/realtime/socketio/engine.py",
}
# Documented in spite of the underscore.
DOCUMENTED = {"_asdict", "_deserialize", "_exit", "_fields", "_replace", "_serialize"}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def defined_names(tree):
    """Return the names that a module of ours defines, at any level."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) in ("self", "cls") else []


def accessed_private_names(tree, ours):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in ours:
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from filter(is_private, names)


def overridden_private_names(module):
    """Return the private names of library classes that the classes of a module override."""
    for cls in vars(importlib.import_module(module)).values():
        if isinstance(cls, type) and cls.__module__ == module:
            libraries = [c for c in cls.__mro__ if not c.__module__.startswith("scoreboard")]
            for each, value in vars(cls).items():
                is_ours = getattr(value, "__module__", None) == module
                if is_ours and is_private(each) and any(each in vars(c) for c in libraries):
                    yield each


def private_names_of_libraries():
    """Return the private names of libraries that each module uses."""
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE}
    ours = {each for tree in trees.values() for each in defined_names(tree)}
    for path, tree in trees.items():
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        used = {*accessed_private_names(tree, ours), *overridden_private_names(module)}
        if used:
            yield path, used


def test_private_names_of_libraries_are_used_only_by_adapters_that_list_them():
    for path, used in private_names_of_libraries():
        listed = ast.get_docstring(ast.parse(path.read_text()))

        assert name(path) in ADAPTERS, used
        assert [each for each in sorted(used) if each not in listed] == [], name(path)


def test_only_broadcast_writes_events():
    emitting = [name(path) for path in PACKAGE if re.search(r"\.emit\(", code_of(path))]
    pushing = [name(path) for path in PACKAGE if "engine.frames(" in code_of(path)]

    assert emitting == []
    assert pushing == ["scoreboard/realtime/hub.py"]


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_no_function_is_longer_than_forty_lines(path):
    long = [
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 40
    ]

    assert long == []


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_only_the_factory_imports_config(path):
    assert ("config" in imports(path)) == (name(path) == "scoreboard/__init__.py")


def test_metrics_import_no_other_module_of_the_package():
    found = imports(ROOT / "scoreboard" / "observability" / "metrics.py")

    assert not [module for module in found if module.split(".")[0] == "scoreboard"]


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_services_and_lower_layers_do_not_use_flask_request(path):
    with_request = {"routes.py", "handlers.py", "endpoint.py", "request.py", "responses.py"}
    if path.name not in with_request | {"__init__.py"}:
        assert "flask.request" not in code_of(path)
        assert not re.search(r"from flask import .*\brequest\b", code_of(path))


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_no_query_is_in_a_route_or_a_schema(path):
    if path.name in ("routes.py", "schemas.py", "handlers.py"):
        assert "sqlalchemy" not in {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_no_package_imports_the_routes_of_another(path):
    for module in imports(path):
        if module.startswith("scoreboard.") and module.endswith(".routes"):
            assert module == ".".join((*path.relative_to(ROOT).parts[:-1], "routes"))


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_a_broad_except_logs_or_raises(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            handled = ast.unparse(ast.Module(node.body, []))
            if caught in ("Exception", "BaseException"):
                assert re.search(r"log\.|translate\(|\braise\b|outcome", handled), handled


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_sleeps(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]

    assert not [call for call in calls if ast.unparse(call.func).endswith("sleep")]


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "1"}, {"PUBLIC_BOARD": "0"}], ids=str)
def test_every_route_is_listed_as_public_or_requires_a_token(app, client, settings):
    public = PUBLIC_ROUTES | (PUBLIC_BOARD_ROUTES if settings["PUBLIC_BOARD"] == "1" else set())
    for rule in app.url_map.iter_rules():
        if rule.endpoint in public or rule.endpoint in ("scores.update", "scores.batch"):
            continue
        method = "GET" if "GET" in rule.methods else "POST"
        assert client.open(rule.rule, method=method).status_code == 401, rule


def test_an_update_requires_a_token(client, player):
    assert client.post("/api/score/update", json=player.update(1)).status_code == 401


PIN = r"([\w.-]+)(?:\[\w+\])?==([\w.]+)(?: *;[^#]+)?"


def pins(file, comment):
    """Return the pins of a requirements file; each line has one, followed by such a comment."""
    found = set()
    for line in (ROOT / file).read_text().splitlines():
        if line and not line.startswith(("#", "-r")):
            requirement = re.fullmatch(f"{PIN} +# {comment}", line)
            assert requirement, line
            found.add((re.sub(r"[-_.]+", "-", requirement[1]).lower(), requirement[2]))
    return found


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_is_pinned_and_compiled(name):
    direct = pins(f"{name}.in", "(?!via ).+")

    assert direct
    assert direct <= pins(f"{name}.txt", "via .+")


def test_both_lists_of_requirements_have_the_same_versions():
    assert pins("requirements.txt", "via .+") <= pins("requirements-dev.txt", "via .+")


def test_no_committed_file_names_a_registry_or_this_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for file in listed.stdout.split():
        path = Path(ROOT / file)
        text = path.read_text(errors="ignore") if path.is_file() else ""
        assert '"resolved"' not in text or file == "tests/test_house.py", file
        assert str(ROOT) + "/" not in text, file
