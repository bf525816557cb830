"""The alerts as they are rendered: they parse, and each fires, is silent and clears as its cases in alerts/ say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CHART, rendered, template
from tests.support.prometheus import configuration, promtool, rules

CASES = sorted((Path(__file__).parent / "alerts").glob("*.yaml"))
NAMES = sorted(path.stem for path in (CHART / "alerts").iterdir())
WATCHED = {"controller.watch.namespaces": ["papers"]}


def test_every_alert_has_cases_in_which_it_fires_is_silent_and_clears() -> None:
    assert [path.stem for path in CASES] == NAMES
    for path in CASES:
        names = [each["name"] for each in yaml.safe_load(path.read_text())["tests"]]
        for wanted in ("fires", "silent", "clears"):
            assert any(name.split()[0] == wanted for name in names), f"{path.stem}: {wanted}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_alert_does_what_its_cases_say(path: Path, tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(configuration(rendered(**WATCHED))["alerts.yml"])
    shutil.copy(path, tmp_path)

    done = promtool("test", "rules", tmp_path / path.name)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="managed"),
        pytest.param(WATCHED, id="other-namespaces"),
        pytest.param({"controller.watch.allNamespaces": True}, id="all-namespaces"),
        pytest.param({"monitoring.excludeRules": NAMES}, id="none"),
    ],
)
def test_the_rules_are_valid(values: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(configuration(rendered(**values))["alerts.yml"])

    done = promtool("check", "rules", "--lint-fatal", tmp_path / "alerts.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_operator_gets_the_same_rules(tmp_path: Path) -> None:
    operator = rendered(**{"prometheus.kind": "operator", "grafana.kind": "sidecar"})

    assert rules(operator) == rules(rendered())
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(operator.all("PrometheusRule")[0]["spec"]))
    assert promtool("check", "rules", tmp_path / "alerts.yml").returncode == 0


@pytest.mark.parametrize(
    ("values", "watched"),
    [
        pytest.param({}, "home", id="own-namespace"),
        pytest.param({"controller.watch.namespaces": ["a", "b"]}, "a|b", id="some"),
        pytest.param({"controller.watch.allNamespaces": True}, ".+", id="all"),
    ],
)
def test_alerts_are_about_the_namespaces_of_the_release(values: dict[str, object], watched: str) -> None:
    found = {each["alert"]: each for each in rules(rendered(**values))}

    assert f'namespace=~"{watched}"' in found["LabelwrightGateFailing"]["expr"]
    assert 'namespace="home"' in found["LabelwrightControllerNotReconciling"]["expr"]
    assert not [each for each in found.values() if "WATCHED" in str(each) or "HOME" in str(each)]


def test_alerts_can_be_left_out_and_their_runbooks_be_elsewhere() -> None:
    values = {"monitoring.excludeRules": ["LabelwrightDrift"], "monitoring.runbookUrl": "https://example.org/runbooks/"}
    found = {each["alert"]: each["annotations"]["runbook_url"] for each in rules(rendered(**values))}

    assert sorted(found) == sorted(set(NAMES) - {"LabelwrightDrift"})
    assert all(url == f"https://example.org/runbooks/{name}.md" for name, url in found.items())


def test_an_unknown_alert_cannot_be_left_out() -> None:
    done = template(**{"monitoring.excludeRules": ["LabelwrightDrifts"]})

    assert done.returncode != 0
    assert "there is no alert LabelwrightDrifts: expected some of LabelwrightClassifierDegraded" in done.stderr
