"""The OpenAPI document describes exactly what the server does."""

import ast
import re
import subprocess
import sys
import uuid
from pathlib import Path

import jsonschema_rs
import pytest
from openapi_spec_validator import validate

from scoreboard import errors
from scoreboard.apidocs import openapi, reference
from scoreboard.auth import reset_links
from scoreboard.services import services
from tests.support import databases
from tests.support.servers import ROOT

FRAMEWORK = {"bad_request", "not_found", "method_not_allowed"}
USER_ID = reference.fields()["user_id"]["example"]
BOARD_ID = reference.fields()["board_id"]["example"]
SCORE_ID = reference.fields()["score_id"]["example"]


@pytest.fixture
def database_url(tmp_path):
    """Return one kind of database, because the documents do not depend on it."""
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
def validator(document):
    """Return a function that returns the validator of a schema of the document."""
    components = {"components": document["components"]}
    return lambda schema: jsonschema_rs.validator_for({**schema, **components})


def example_body(operation):
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("example")


def codes_of(operation):
    """Yield status, schema and error codes of each response that is an error."""
    for status, response in operation["responses"].items():
        if codes := response.get("x-codes"):
            yield status, response["content"]["application/json"]["schema"], codes


def test_it_is_valid_openapi_3_1(document):
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == openapi.VERSION
    validate(document)


def test_it_describes_exactly_the_routes_of_the_server(app, operations):
    routes = {
        (method, re.sub(r"<(\w+:)?(\w+)>", r"{\2}", rule.rule))
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("web.")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert operations.keys() == routes
    assert all(operation["summary"] for operation in operations.values())


def test_the_statuses_of_the_contract_are_complete(operations):
    update = operations["POST", "/api/score/update"]["responses"]
    top10 = operations["GET", "/api/score/top10"]["responses"]

    assert set(update) == {"200", "400", "401", "429", "500"}
    assert set(top10) - {"304"} == {"200", "500"}


def test_conditional_operations_describe_their_etags(operations):
    conditional = [each for each in operations.values() if "304" in each["responses"]]

    assert len(conditional) == 7
    for operation in conditional:
        ok, unchanged = (operation["responses"][status] for status in ("200", "304"))
        assert "ETag" in ok["headers"]
        assert "ETag" in unchanged["headers"]
        assert "content" not in unchanged
        assert "If-None-Match" in [each["name"] for each in operation["parameters"]]


def test_exactly_the_operations_with_security_require_a_token(client, operations):
    for (method, path), operation in operations.items():
        url = re.sub(r"{\w+}", "1", path)
        response = client.open(url, method=method, json=example_body(operation))

        is_required = bool(operation["security"]) and {} not in operation["security"]
        is_refused = response.status_code == 401 and "token_missing" in response.text
        assert is_refused == is_required, path


def test_errors_have_one_of_the_codes_of_their_status(operations, validator):
    for route, operation in operations.items():
        for status, schema, codes in codes_of(operation):
            is_valid = validator(schema).is_valid
            for code in codes:
                assert is_valid({"error": {"code": code, "message": "m"}}), (route, status)
                assert not is_valid({"error": {"code": code}})
            assert not is_valid({"error": {"code": "other", "message": "m"}})


@pytest.fixture
def example_user(make_user, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(uuid, "uuid4", lambda: uuid.UUID(USER_ID))
        return make_user("player", name="ben")


IDS = {"webhook_id", "delivery_id"}
# Examples have only the required fields, and other users need their current password.
FOR_GUESTS = {
    *(("PATCH", "/api/auth/me"), ("DELETE", "/api/auth/me")),
    ("POST", "/api/auth/password"),
}


def test_every_example_request_gets_a_response_that_matches_its_schema(
    client, make_user, example_user, operations, validator, monkeypatch
):
    admin = make_user("admin")
    update = example_user.update(1)
    posted = client.post("/api/score/update", json=update, headers=admin.bearer)
    link_token = example_body(operations["POST", "/api/auth/reset"])["token"]
    monkeypatch.setattr(reset_links.secrets, "token_urlsafe", lambda _: link_token)
    reset_links.create(USER_ID)
    monkeypatch.setitem(client.application.config, "SMTP_URL", "smtp://example.com")
    monkeypatch.setattr(services(client.application).mailer, "send_reset_link", lambda email: None)
    refresh = {}
    # First the board and the webhook are created; last they are deleted, and signing out revokes
    # the admin's token.
    first = [("POST", "/api/admin/boards"), ("POST", "/api/admin/webhooks")]
    last = [("POST", "/api/auth/logout")]
    # A score is restored after it is voided, a delivery replayed after it is stored.
    replay = "/api/admin/webhooks/{webhook_id}/deliveries/{delivery_id}/replay"
    late = [("POST", "/api/admin/scores/{score_id}/restore"), ("POST", replay)]
    ids = {}
    routes = sorted(
        operations,
        key=lambda each: (each in last, "DELETE" in each, each in late, each not in first),
    )
    for method, path in routes:
        operation = operations[method, path]
        url = path.replace("{user_id}", USER_ID)
        # The new board has no scores.
        url = url.replace("{board}", BOARD_ID if "admin" in path else "main")
        url = url.replace("{score_id}", str(posted.json["score_id"]))
        for name, number in ids.items():
            url = url.replace(f"{{{name}}}", str(number))
        headers = refresh if {"refresh": []} in operation["security"] else admin.bearer
        if (method, path) in FOR_GUESTS:
            headers = make_user().bearer
        response = client.open(url, method=method, json=example_body(operation), headers=headers)

        status, described = next(iter(operation["responses"].items()))
        assert response.status_code == int(status), (path, response.text)
        if path.endswith(("/webhooks", "/test")) and method == "POST":
            ids |= {name: response.json[name] for name in IDS & response.json.keys()}
        if path == "/api/auth/login":
            refresh = {"Authorization": f"Bearer {response.json['refresh_token']}"}
        media = described.get("content", {}).get("application/json", {})
        if media.get("example"):
            validator(media["schema"]).validate(response.json)
            validator(media["schema"]).validate(media["example"])


def subclasses(base):
    """Return a class and all of its subclasses, by name."""
    found = {base.__name__: base}
    for each in base.__subclasses__():
        found |= subclasses(each)
    return found


def constructed(tree):
    """Yield the name of each class that is raised or called, and its arguments after the first."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name):
            yield node.exc.id, []
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, [*node.args[1:], *(each.value for each in node.keywords)]


def code_of(error, arguments):
    """Return the code of an error of this class with these arguments after the first."""
    for each in arguments:
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            return each.value
    try:
        return error().code
    except TypeError:
        return error.code


def test_exactly_the_error_codes_in_use_are_explained_with_their_statuses():
    classes = subclasses(errors.ScoreboardError)
    in_use = {
        (code_of(classes[name], arguments), classes[name].status)
        for path in (ROOT / "scoreboard").rglob("*.py")
        for name, arguments in constructed(ast.parse(path.read_text()))
        if name in classes and not any(isinstance(each, ast.Call) for each in arguments)
    }
    in_use = {(code, status) for code, status in in_use if code not in FRAMEWORK}
    explained = {(code, entry["status"]) for code, entry in reference.codes().items()}

    # The status of an unknown user is 404 where the path names it, as the meaning explains.
    assert in_use - explained == {("unknown_user", 404)}
    assert {code for code, _ in explained - in_use} == FRAMEWORK


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PUT", "/api/score/top10")])
def test_errors_of_the_framework_are_explained(client, method, path):
    response = client.open(path, method=method)

    entry = reference.codes()[response.json["error"]["code"]]
    assert entry["status"] == response.status_code


def test_every_error_code_belongs_to_an_operation_or_a_channel(client, operations):
    described = {
        code
        for operation in operations.values()
        for _, _, codes in codes_of(operation)
        for code in codes
    }
    for channel in client.get("/api/asyncapi.json").json["channels"].values():
        described |= set(channel["x-refusals"])

    assert set(reference.codes()) - described == FRAMEWORK


@pytest.fixture(scope="module")
def server(start):
    """Return a server with the user and the score of the examples."""
    # Behind a proxy no address is refused at accept, however many of its requests are refused.
    server = start(TRUSTED_PROXIES="1")
    scorer = server.user("The-scorer", "scorer")
    ben = server.user("ben")
    score_id = server.post(scorer.token, ben.update(1)).json()["score_id"]
    for table in ("users", "scores", "standings"):
        server.execute(f"UPDATE {table} SET user_id = '{USER_ID}' WHERE user_id = '{ben.user_id}'")
    for table in ("scores", "standings"):
        server.execute(f"UPDATE {table} SET score_id = {SCORE_ID} WHERE score_id = {score_id}")
    return server


# The status of a batch is 200 although some of its updates are invalid.
SETTINGS = """
[auth]
auto-signup = false

[[operations]]
include-path = "/api/score/batch"
checks.negative_data_rejection.enabled = false
"""


@pytest.mark.parametrize(
    ("role", "phases"),
    [(None, "fuzzing"), ("scorer", "fuzzing"), ("admin", "examples,coverage,fuzzing")],
)
def test_responses_to_generated_requests_match_the_document(server, tmp_path, role, phases):
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    options = []
    if role:
        token = server.user(f"A-{role}", role).token
        # Signing out would revoke the token.
        options = ["-H", f"Authorization:Bearer {token}", "--exclude-path", "/api/auth/logout"]

    result = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "run", f"{server.url}/api/openapi.json"),
            *("--no-color", "--phases", phases, "--max-examples", "5"),
            # Valid data may be refused, for example a future time or a taken name.
            *("--generation-deterministic", "--exclude-checks", "positive_data_acceptance"),
            *("--suppress-health-check", "all", "--continue-on-failure", *options),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    assert "unexpected error" not in server.log()
