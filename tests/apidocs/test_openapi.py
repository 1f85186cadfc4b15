"""The OpenAPI document says what the server does, neither less nor more."""

import ast
import contextlib
import re
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from scoreboard import errors
from scoreboard.apidocs import documents, openapi, reference
from scoreboard.http.documented import documentation
from tests.support import databases
from tests.support.servers import ROOT, Server

PAGES = "web."  # the blueprint of pages and files, which are for people
FRAMEWORK = {"bad_request", "not_found", "method_not_allowed"}
USER_ID = reference.fields()["user_id"]["example"]
EXAMPLE_SCORE = reference.fields()["score_id"]["example"]


@pytest.fixture
def database_url(tmp_path):
    """Return one kind of database: the documents are the same with every kind."""
    return databases.copied_sqlite(tmp_path)


@pytest.fixture
def document(client):
    return client.get("/api/openapi.json").json


@pytest.fixture
def operations(document):
    """Return every operation by its method and path."""
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


@pytest.fixture
def schema_of(document):
    """Return a function that makes a validator of a schema in the document."""

    def make(schema):
        return jsonschema_rs.validator_for({**schema, "components": document["components"]})

    return make


def views(app):
    """Yield method, path and view of every route that is no page."""
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith(PAGES):
            for method in rule.methods - {"HEAD", "OPTIONS"}:
                path = re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule)
                yield method, path, app.view_functions[rule.endpoint]


def example_body(operation):
    return (
        operation.get("requestBody", {"content": {}})["content"]
        .get("application/json", {})
        .get("example")
    )


def spy(patched, schema):
    """Return what is loaded by this schema from now on."""
    loaded, load = [], schema.load

    def keep(data):
        loaded.append(data)
        return load(data)

    patched.setattr(schema, "load", keep)
    return loaded


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_it_is_built_once_in_a_thread(client, monkeypatch):
    made = []

    def run_in_thread(work, *args):
        made.append(work)
        return work(*args)

    monkeypatch.setattr(documents, "run_in_thread", run_in_thread)

    first, second = (client.get("/api/openapi.json").json for _ in range(2))

    assert first == second
    assert len(made) == 1


def test_it_has_every_route_and_no_other(app, operations):
    assert set(operations) == {(method, path) for method, path, _ in views(app)}


def test_every_route_says_in_words_what_it_does(operations):
    assert [route for route, operation in operations.items() if not operation["summary"]] == []


def test_every_parameter_of_a_path_is_described(operations):
    for (_, path), operation in operations.items():
        told = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert told == set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize("what", ["body", "query", "path"])
def test_what_is_described_is_loaded_by_the_schema_that_describes_it(
    app, client, operations, make_user, monkeypatch, what
):
    admin = make_user("admin")
    described = 0
    for method, path, view in views(app):
        schema = getattr(documentation(view), what)
        if schema is not None:
            body = {} if what == "body" else example_body(operations[method, path])
            url = path.replace("{user_id}", USER_ID).replace("{score_id}", "1")
            with monkeypatch.context() as patched:
                loaded = spy(patched, schema)
                client.open(url, method=method, json=body, headers=admin.bearer)
            assert loaded, path
            described += 1
    assert described


def test_the_two_of_the_contract_answer_what_it_lists_and_nothing_else(operations):
    update = operations["POST", "/api/score/update"]["responses"]
    top10 = operations["GET", "/api/score/top10"]["responses"]

    assert set(update) == {"200", "400", "401", "429", "500"}
    assert set(top10) - {"304"} == {"200", "500"}


def test_what_has_an_etag_says_so_of_both_answers_and_takes_it_back(operations):
    conditional = [each for each in operations.values() if "304" in each["responses"]]

    assert len(conditional) == 4
    for operation in conditional:
        answers = [operation["responses"][status] for status in ("200", "304")]
        assert all("ETag" in answer["headers"] for answer in answers)
        assert "content" not in answers[1]
        assert "If-None-Match" in [each["name"] for each in operation["parameters"]]


def test_what_needs_a_token_is_refused_without_one_and_the_rest_is_not(client, operations):
    for (method, path), operation in operations.items():
        url = re.sub(r"{\w+}", "1", path)
        answer = client.open(url, method=method, json=example_body(operation))

        needed = operation["security"] and {} not in operation["security"]
        refused = answer.status_code == 401 and answer.json["error"]["code"] == "token_missing"
        assert refused == bool(needed), path


def test_every_answer_has_the_error_shape_of_its_codes(operations, schema_of):
    for route, operation in operations.items():
        for status, answer in operation["responses"].items():
            for code in answer.get("x-codes", ()):
                schema = schema_of(answer["content"]["application/json"]["schema"])
                assert schema.is_valid({"error": {"code": code, "message": "m"}}), (route, status)
                assert not schema.is_valid({"error": {"code": "other", "message": "m"}})
                assert not schema.is_valid({"error": {"code": code}})


@pytest.fixture
def user_of_the_examples(make_user, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(uuid, "uuid4", lambda: uuid.UUID(USER_ID))
        return make_user("player", name="ben")


def test_every_example_is_accepted_and_answered_as_its_example_is(
    client, make_user, user_of_the_examples, operations, schema_of
):
    admin, refresh_token = make_user("admin"), None
    posted = client.post(
        "/api/score/update", json=user_of_the_examples.update(1), headers=admin.bearer
    )
    # What ends the admin's own sign-in comes last.
    last = {"/api/auth/logout"}
    for (method, path), operation in sorted(
        operations.items(), key=lambda each: each[0][1] in last
    ):
        url = path.replace("{user_id}", USER_ID)
        url = url.replace("{score_id}", str(posted.json["score_id"]))
        refreshes = {"refresh": []} in operation["security"]
        bearer = {"Authorization": f"Bearer {refresh_token}"} if refreshes else admin.bearer
        answer = client.open(url, method=method, json=example_body(operation), headers=bearer)

        status, told = next(iter(operation["responses"].items()))
        assert answer.status_code == int(status), (path, answer.text)
        if path == "/api/auth/login":
            refresh_token = answer.json["refresh_token"]
        media = told.get("content", {}).get("application/json", {})
        if media.get("example"):
            schema_of(media["schema"]).validate(answer.json)
            schema_of(media["schema"]).validate(media["example"])


def error_classes():
    """Return every kind of error by its name."""
    found, waiting = {}, [errors.ScoreboardError]
    while waiting:
        each = waiting.pop()
        found[each.__name__] = each
        waiting += each.__subclasses__()
    return found


def errors_made(tree):
    """Yield the name of every class that is raised or called here, and the texts it is given."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            yield node.exc.id, []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, [*node.args[1:], *(word.value for word in node.keywords)]


def code_of(made, given):
    """Return the code of an error of this class, made with these arguments after the first."""
    for each in given:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            return each.value
    try:
        return made().code
    except TypeError:
        return made.code


def test_every_error_code_in_use_is_explained_with_its_status_and_no_other():
    classes = error_classes()
    in_use = {
        (code_of(classes[name], given), classes[name].status)
        for path in (ROOT / "scoreboard").rglob("*.py")
        for name, given in errors_made(ast.parse(path.read_text()))
        # Whose code is computed tells what the framework refuses.
        if name in classes and not any(isinstance(each, ast.Call) for each in given)
    }

    # A user who is not there is a 404 where a path names it, and the table says so.
    assert ("unknown_user", 404) in in_use
    explained = {
        (code, entry["status"])
        for code, entry in reference.codes().items()
        if code not in FRAMEWORK
    }
    in_use = {(code, status) for code, status in in_use if code not in FRAMEWORK}
    assert explained == in_use - {("unknown_user", 404)}


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/api/score/top10")])
def test_what_the_framework_refuses_is_explained_too(client, method, path):
    answer = client.open(path, method=method)

    code = answer.json["error"]["code"]
    assert code in FRAMEWORK
    assert reference.codes()[code]["status"] == answer.status_code


def test_every_error_code_is_in_the_answer_of_some_endpoint_or_message(client, operations):
    told = {
        code
        for operation in operations.values()
        for answer in operation["responses"].values()
        for code in answer.get("x-codes", ())
    }
    for channel in client.get("/api/asyncapi.json").json["channels"].values():
        told |= set(channel["x-refusals"])

    # What no endpoint answers: it is told of requests that reach none.
    assert set(reference.codes()) - told == FRAMEWORK


def test_the_version_is_the_one_that_the_changes_are_listed_under():
    assert f"## {openapi.VERSION}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a server of which the user and the score of the examples are there."""
    folder = tmp_path_factory.mktemp("server")
    # Behind a proxy no address is refused at accept, however many of its requests are refused.
    server = Server(folder, TRUSTED_PROXIES="1")
    scorer = server.user("The-scorer", "scorer")
    ben = server.user("ben")
    posted = server.post(scorer.token, ben.update(1)).json()
    with contextlib.closing(sqlite3.connect(folder / "scoreboard.db")) as database:
        for table in ("users", "scores", "standings"):
            database.execute(
                f"UPDATE {table} SET user_id = ? WHERE user_id = ?", (USER_ID, ben.user_id)
            )
        for table in ("scores", "standings"):
            database.execute(
                f"UPDATE {table} SET score_id = ? WHERE score_id = ?",
                (EXAMPLE_SCORE, posted["score_id"]),
            )
        database.commit()
    yield server
    server.stop()


# A batch judges each update on its own: one that is wrong is told so within a 200.
SETTINGS = """
[auth]
auto-signup = false

[[operations]]
include-path = "/api/score/batch"
checks.negative_data_rejection.enabled = false
"""


def run_schemathesis(server, folder, token, phases):
    """Return what Schemathesis found, having sent what it makes of the document."""
    (folder / "schemathesis.toml").write_text(SETTINGS)
    # What signs the token out would leave the rest with nothing to test.
    not_these = ["--exclude-path", "/api/auth/logout"] if token else []
    header = ["-H", f"Authorization:Bearer {token}"] if token else []
    program = Path(sys.executable).with_name("st")
    return subprocess.run(
        [
            *(str(program), "run", f"{server.url}/api/openapi.json", "--no-color"),
            *("--phases", phases, "--max-examples", "5", "--generation-deterministic"),
            # What is valid for the document may still be refused: a time to come, a name taken.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--suppress-health-check", "all", "--continue-on-failure", *header, *not_these),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("role", "phases"),
    [(None, "fuzzing"), ("scorer", "fuzzing"), ("admin", "examples,coverage,fuzzing")],
)
def test_the_real_server_answers_as_documented_whatever_it_is_sent(server, tmp_path, role, phases):
    token = server.user(f"A-{role}", role).token if role else None

    done = run_schemathesis(server, tmp_path, token, phases)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "unexpected error" not in server.log()
