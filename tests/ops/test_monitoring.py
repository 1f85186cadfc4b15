"""The dashboard and the alerts of docs/monitoring query metrics that a server really has."""

import itertools
import json

import promql_parser
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from scoreboard.apidocs import reference
from tests.support.servers import ROOT
from tests.support.waiting import wait_until

FOLDER = ROOT / "docs" / "monitoring"
DASHBOARD = json.loads((FOLDER / "scoreboard-dashboard.json").read_text())
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
(JOB,) = (scrape["job_name"] for scrape in PROMETHEUS["scrape_configs"])
# As Grafana replaces them; the parser does not know them.
VARIABLES = {"$job": JOB, "$__rate_interval": "1m"}
# Prometheus itself adds this series, and these labels to all.
UP = {"up": {"job": {JOB}, "instance": set()}}
EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}


def parse(expression):
    """Return the syntax tree. Raises ValueError if the expression is not valid PromQL."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def nodes(expression):
    """Return every node of the syntax tree."""
    found = []
    promql_parser.walk(parse(expression), found.append)
    return found


def selectors(expression):
    """Return the selectors of series in the expression."""
    return [each for each in nodes(expression) if isinstance(each, promql_parser.VectorSelector)]


def labels_of(text):
    """Return the values of each label of each series in the text, by the name of the series."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {"job": {JOB}, "instance": set()})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.fixture(scope="module")
def metrics(start):
    """Return the labels of every series of a new server, as `labels_of` does."""
    server = start()

    def read():
        text = requests.get(f"{server.url}/metrics", timeout=10).text
        return {**UP, **labels_of(text)}

    # The maintenance starts after the server.
    wait_until(lambda: "scoreboard_keeper_failures_total" in read())
    return read()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_queries_series_that_exist(metrics, name):
    outcomes = {"accepted", *reference.codes()}

    found = selectors(EXPRESSIONS[name])
    assert found
    for selector in found:
        assert selector.name in metrics
        for matcher in selector.matchers.matchers:
            known = metrics[selector.name][matcher.name]
            if matcher.name in ("code", "outcome"):  # other series appear when they are counted
                known = outcomes
            assert set(matcher.value.split("|")) <= known


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_groups_by_labels_that_exist(metrics, name):
    for node in nodes(EXPRESSIONS[name]):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            for selector in selectors(node.expr.prettify()):
                assert set(node.modifier.labels) <= metrics[selector.name].keys()


@pytest.mark.parametrize(
    ("expression", "problem"),
    [("rate(up)", "expected type matrix"), ("sum by (job", "parenthesis"), ("up{job=}", "invalid")],
)
def test_an_expression_that_is_not_promql_is_found(expression, problem):
    with pytest.raises(ValueError, match=problem):
        parse(expression)


def test_the_panels_of_the_dashboard_do_not_overlap():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [
        cell
        for at in places
        for cell in itertools.product(
            range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        )
    ]

    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_query_of_the_dashboard_uses_its_variable_for_the_data_source():
    (variable,) = (v for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource")
    targets = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]

    assert {target["datasource"]["uid"] for target in targets} == {f"${{{variable['name']}}}"}
    assert [panel["id"] for panel in DASHBOARD["panels"]] == [
        number for number, _ in enumerate(DASHBOARD["panels"], 1)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_says_what_to_do(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description"}
