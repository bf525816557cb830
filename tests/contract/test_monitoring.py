"""Dashboards and alerts show what the code measures, and each alert has its runbook."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from k8s.monitoring import dashboards
from tests.support import declared
from tests.support.promql import legend_labels, parse, template_labels

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "labelwright"
ALERTS = sorted((CHART / "alerts").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
# Labels that the scrape configuration gives; `release` only to Pods of the release.
TARGET = {"namespace", "pod", "instance", "job", "release"}
UNITS = {"short", "percentunit", "s", "bytes", "reqps", "ops", "cps", "sci"}
FILES = ("classifiers.json", "gateway.json", "platform.json", "serving.json", "training.json")

every_dashboard = pytest.mark.parametrize("file", FILES)
every_alert = pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)


def read(file: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "dashboards" / file).read_text())
    return found


def rule(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    (predictor, _), (controller, _) = declared.predictor(tmp_path_factory.mktemp("version")), declared.controller()
    api, worker, _ = declared.gateway()
    registries = (predictor, controller, declared.trainer().registry, api.registry, worker)
    return {**declared.labels_by_series(*registries), "up": set()}


def test_the_dashboards_of_the_chart_are_those_of_the_code() -> None:
    texts = dashboards.texts()

    assert sorted(texts) == sorted(path.name for path in (CHART / "dashboards").iterdir()) == list(FILES)
    for file, text in texts.items():
        assert (CHART / "dashboards" / file).read_text() == text, f"{file} is old: run make dashboards"


@every_dashboard
def test_a_dashboard_is_one_of_grafanas_model(file: str) -> None:
    document = read(file)
    known = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))

    assert dashboards.as_grafana_writes_it(known) == document
    assert (document["editable"], document["schemaVersion"]) == (False, 42)
    assert document["uid"] == f"labelwright-{file.removesuffix('.json')}"


@every_dashboard
def test_the_data_source_is_a_variable(file: str) -> None:
    document = read(file)
    first, *others = document["templating"]["list"]
    wanted = {"type": "prometheus", "uid": "${datasource}"}

    assert (first["name"], first["type"], first["query"]) == ("datasource", "datasource", "prometheus")
    assert [each["datasource"] for each in others] == [wanted] * len(others)
    for panel in document["panels"]:
        assert [panel["datasource"], *(each["datasource"] for each in panel["targets"])] == [wanted] * (1 + len(panel["targets"]))


@every_dashboard
def test_every_panel_has_a_title_a_description_a_unit_and_a_link(file: str) -> None:
    panels = read(file)["panels"]
    uids = {read(each)["uid"] for each in FILES}

    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        (link,) = panel["links"]
        linked = re.fullmatch(r"/d/([\w-]+)\?\$\{__url_time_range\}&\$\{__all_variables\}", link["url"])
        assert linked, panel["title"]
        assert linked[1] in uids - {read(file)["uid"]}, panel["title"]


@every_dashboard
def test_panels_have_numbers_of_their_own_and_do_not_overlap(file: str) -> None:
    panels = read(file)["panels"]

    assert [each["id"] for each in panels] == list(range(1, len(panels) + 1))
    for one, other in combinations([each["gridPos"] for each in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)


@every_dashboard
def test_rates_use_the_interval_that_grafana_computes(file: str) -> None:
    for panel in read(file)["panels"]:
        for target in panel["targets"]:
            ranges = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
            allowed = {"$__range"} if target["instant"] else {"$__rate_interval"}
            assert ranges <= allowed, panel["title"]


@every_dashboard
def test_an_expression_uses_the_variables_that_its_dashboard_has(file: str) -> None:
    document = read(file)
    names = {each["name"] for each in document["templating"]["list"]}
    queries = [each["query"] for each in document["templating"]["list"]]
    expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    used = {name for text in (*queries, *expressions) for name in re.findall(r"\$(\w+)", text)}

    assert used - {"__rate_interval", "__range"} == names - {"datasource"}


@every_dashboard
def test_a_dashboard_shows_series_of_the_code_with_their_labels(file: str, series: dict[str, set[str]]) -> None:
    document = read(file)
    for panel in document["panels"]:
        for target in panel["targets"]:
            names_series_of_the_code(target["expr"], series, legend_labels(target["legendFormat"]))
    for variable in document["templating"]["list"][1:]:
        query, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
        names_series_of_the_code(query, series, {label})


def names_series_of_the_code(expression: str, series: dict[str, set[str]], shown: set[str]) -> None:
    parsed = parse(expression)
    assert parsed.selectors, expression
    there = set(TARGET)
    for selector in parsed.selectors:
        assert selector.metric in series, f"{selector.metric} is not declared: {expression}"
        assert selector.labels <= series[selector.metric] | TARGET, expression
        there |= series[selector.metric]
    assert parsed.grouping <= there, expression
    assert shown <= (parsed.by or there), expression


def test_there_are_the_alerts_that_operators_need() -> None:
    assert [path.stem.removeprefix("Labelwright") for path in ALERTS] == [
        "ClassifierDegraded", "ClassifierNotReady", "ControllerNotReconciling", "Drift", "ErrorRate", "GateFailing",
        "GatewayQueueAge", "GatewayRefusing", "GatewayTasksFailing", "Latency", "NoCheckpoint", "QueueFull",
        "RollOutWentBack", "ServedScoreFell", "StorageUnreachable", "TrainingStuck",
    ]  # fmt: skip


@every_alert
def test_an_alert_has_the_name_of_its_file_and_what_people_need(path: Path) -> None:
    found = rule(path)

    assert found.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert found["alert"] == path.stem
    assert found["labels"]["severity"] in ("critical", "warning")
    assert found["annotations"].keys() == {"summary", "description"}
    assert "{{" not in found["annotations"]["summary"]
    assert re.search(r"[<>]|==|absent", found["expr"]), "nothing is compared"


@every_alert
def test_an_alert_is_about_series_of_the_code_in_the_namespaces_of_the_release(path: Path, series: dict[str, set[str]]) -> None:
    found = rule(path)
    parsed = parse(found["expr"])
    names_series_of_the_code(found["expr"], series, set())

    for selector in parsed.selectors:
        assert "namespace" in selector.labels, selector.metric
    assert set(re.findall(r'namespace=~?"([^"]+)"', found["expr"])) <= {"WATCHED", "HOME"}
    assert template_labels(found["annotations"]["description"]) <= (parsed.by or {"namespace", "pod"})


@every_alert
def test_an_alert_has_a_runbook_of_its_name(path: Path) -> None:
    text = (RUNBOOKS / f"{path.stem}.md").read_text()

    assert re.findall(r"^#+ .*$", text, re.MULTILINE) == [
        f"# {path.stem}", "## Meaning", "## Impact", "## Diagnosis", "## Mitigation",
    ]  # fmt: skip


def test_a_runbook_has_an_alert_of_its_name() -> None:
    assert sorted(path.stem for path in RUNBOOKS.iterdir()) == [path.stem for path in ALERTS]


def test_panels_name_runbooks_that_there_are() -> None:
    text = "".join((CHART / "dashboards" / file).read_text() for file in FILES)

    assert set(re.findall(r"runbook (\w+)", text)) <= {path.stem for path in ALERTS}


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        pytest.param('sum by (a) (rate(x_total{b="c, d"}[5m])) > 0.5', ["x_total"], {"a"}, id="rate"),
        pytest.param('{__name__=~"x|y", b=~"{c}"} * on (p) group_left (q) z', ["x", "y", "z"], {"p", "q"}, id="names"),
        pytest.param("a unless on (b) (c or d) == 1", ["a", "c", "d"], {"b"}, id="operators"),
    ],
)
def test_an_expression_is_read(expression: str, metrics: list[str], labels: set[str]) -> None:
    parsed = parse(expression)

    assert [each.metric for each in parsed.selectors] == metrics
    assert parsed.grouping == labels
