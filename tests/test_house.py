"""Rules of the code that are checked by reading it."""

import ast
import importlib
import re
import subprocess

import pytest

from tests.support.routes import PUBLIC_BOARD_ROUTES, PUBLIC_ROUTES
from tests.support.servers import ROOT


def trees(folder):
    """Return the syntax tree of every module in the folder by its path."""
    paths = sorted(
        path for path in (ROOT / folder).rglob("*.py") if "node_modules" not in str(path)
    )
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


MODULES, TESTS = trees("scoreboard"), trees("tests")


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(path):
    """Return the modules and names that a module imports, without those for type checkers."""
    package = path.split("/")[:-1]
    body = [node for node in MODULES[path].body if not is_type_checking(node)]
    found = set()
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parents, *filter(None, [node.module])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


# From the top: a package imports from its own layer and from those below.
LAYERS = (
    {"middleware", "cli", "server"},
    {"web", "admin", "ops", "apidocs"},
    {"realtime", "anomalies"},
    {"scores", "leaderboard"},
    {"boards"},
    {"auth", "webhooks"},
    {"db", "http", "observability"},
    {"concurrency", "errors", "permissions", "models", "extensions", "services"},
)
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}


def package_of(path):
    return path.split("/")[1].removesuffix(".py")


IMPORTED = {
    package: {
        module.split(".")[1]
        for path in MODULES
        if package_of(path) == package
        for module in imports(path)
        if module.startswith("scoreboard.") and module.split(".")[1] in LAYER
    }
    - {package}
    for package in LAYER
}


def test_every_module_is_in_a_layer():
    assert set(map(package_of, MODULES)) == LAYER.keys() | {"__init__"}


@pytest.mark.parametrize("package", sorted(LAYER))
def test_a_package_imports_only_from_its_own_layer_and_below(package):
    assert [other for other in IMPORTED[package] if LAYER[other] < LAYER[package]] == []


@pytest.mark.parametrize("package", sorted(LAYER))
def test_no_two_packages_import_each_other(package):
    assert [other for other in IMPORTED[package] if package in IMPORTED[other]] == []


def modules_with(text):
    return [path for path in MODULES if text in (ROOT / path).read_text()]


def test_only_the_runtime_names_eventlet():
    assert modules_with("eventlet") == ["scoreboard/concurrency/runtime.py"]


def test_only_the_hub_frames_and_pushes_events():
    assert modules_with(".emit(") == []
    assert modules_with("engine.frames(") == ["scoreboard/realtime/hub.py"]


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
    """Yield the names that a module defines, at any level."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if ast.unparse(node.value) in ("self", "cls") else []


OUR_NAMES = {name for tree in MODULES.values() for name in defined_names(tree)}


def accessed_private_names(path):
    """Yield the private names of libraries that a module accesses or imports."""
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in OUR_NAMES:
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            yield from filter(is_private, names)


def overridden_private_names(path):
    """Yield the private names of library classes that the classes of a module override."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    for cls in vars(importlib.import_module(module)).values():
        if isinstance(cls, type) and cls.__module__ == module:
            libraries = [c for c in cls.__mro__ if not c.__module__.startswith("scoreboard")]
            for name, value in vars(cls).items():
                is_ours = getattr(value, "__module__", None) == module
                if is_ours and is_private(name) and any(name in vars(c) for c in libraries):
                    yield name


@pytest.mark.parametrize("path", MODULES)
def test_private_names_of_libraries_are_used_only_by_adapters_that_list_them(path):
    used = {*accessed_private_names(path), *overridden_private_names(path)}
    listed = ast.get_docstring(MODULES[path]) if path in ADAPTERS else ""

    assert [name for name in sorted(used) if name not in listed] == []


@pytest.mark.parametrize("path", MODULES)
def test_no_function_is_longer_than_forty_lines(path):
    functions = [node for node in ast.walk(MODULES[path]) if isinstance(node, ast.FunctionDef)]

    assert [node.name for node in functions if node.end_lineno - node.lineno >= 40] == []


@pytest.mark.parametrize("path", MODULES)
def test_only_the_factory_imports_config(path):
    assert ("config" in imports(path)) == (path == "scoreboard/__init__.py")


def test_metrics_import_no_other_module_of_the_package():
    found = imports("scoreboard/observability/metrics.py")

    assert [module for module in found if module.startswith("scoreboard")] == []


WEB_MODULES = ("routes.py", "handlers.py", "endpoint.py", "request.py", "responses.py")


@pytest.mark.parametrize("path", MODULES)
def test_services_and_lower_layers_do_not_use_flask_request(path):
    if not path.endswith((*WEB_MODULES, "__init__.py")):
        assert "flask.request" not in imports(path)
        assert "flask.request" not in (ROOT / path).read_text()


@pytest.mark.parametrize("path", MODULES)
def test_no_query_is_in_a_route_or_a_schema(path):
    if path.endswith(("routes.py", "schemas.py", "handlers.py")):
        assert "sqlalchemy" not in {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize("path", MODULES)
def test_no_package_imports_the_routes_of_another(path):
    routes = {module for module in imports(path) if re.fullmatch(r"scoreboard\..*\.routes", module)}

    assert routes <= {".".join([*path.split("/")[:-1], "routes"])}


@pytest.mark.parametrize("path", MODULES)
def test_a_broad_except_logs_or_raises(path):
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            handled = ast.unparse(ast.Module(node.body, []))
            if caught in ("Exception", "BaseException"):
                assert re.search(r"log\.|translate\(|\braise\b|outcome", handled), handled


@pytest.mark.parametrize("path", TESTS)
def test_no_test_sleeps(path):
    calls = [node for node in ast.walk(TESTS[path]) if isinstance(node, ast.Call)]

    assert not [call for call in calls if ast.unparse(call.func).endswith("sleep")]


@pytest.mark.parametrize("settings", [{"PUBLIC_BOARD": "1"}, {"PUBLIC_BOARD": "0"}], ids=str)
def test_every_route_is_listed_as_public_or_requires_a_token(app, client, settings):
    public = PUBLIC_ROUTES | (PUBLIC_BOARD_ROUTES if settings["PUBLIC_BOARD"] == "1" else set())
    # The endpoints for updates validate the body first.
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in public | {"scores.update", "scores.batch"}:
            (method, *_) = sorted(rule.methods - {"OPTIONS", "HEAD"})
            path = rule.rule.replace("<board>", "main")
            assert client.open(path, method=method).status_code == 401, rule


def test_an_update_requires_a_token(client, player):
    assert client.post("/api/score/update", json=player.update(1)).status_code == 401


PIN = r"([\w.-]+)(?:\[\w+\])?==([\w.]+)(?: *;[^#]+)?"


def pins(file, comment):
    """Return the packages and versions in a requirements file; each has a comment like this."""
    lines = (ROOT / file).read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith(("#", "-r"))]
    found = [re.fullmatch(f"{PIN} +# {comment}", line) for line in pinned]
    assert all(found), file
    return {(re.sub(r"[-_.]+", "-", pin[1]).lower(), pin[2]) for pin in found}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_every_requirement_is_pinned_and_compiled(name):
    direct = pins(f"{name}.in", "(?!via ).+")

    assert direct
    assert direct <= pins(f"{name}.txt", "via .+")


def test_both_lists_of_requirements_have_the_same_versions():
    assert pins("requirements.txt", "via .+") <= pins("requirements-dev.txt", "via .+")


def test_no_committed_file_names_a_registry_or_a_local_path():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for file in listed.stdout.split():
        path = ROOT / file
        text = path.read_text(errors="ignore") if path.is_file() else ""
        assert '"resolved"' not in text or file == "tests/test_house.py", file
        assert f"{ROOT}/" not in text, file
