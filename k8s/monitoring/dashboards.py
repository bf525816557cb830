"""The five dashboards as classic JSON, which Grafana 11 and later read from files: `python -m k8s.monitoring.dashboards`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, VariableOption, VariableRefresh, VariableSort

from k8s.monitoring import classifiers, gateway, platform, serving, training
from k8s.monitoring.panels import DATASOURCE, Panel, built

FOLDER = Path(__file__).parents[2] / "charts" / "labelwright" / "dashboards"
ANY, ANY_OR_NONE = ".+", ".*"
WHOSE = 'namespace=~"$namespace"'
TAG = "labelwright"
Variable = tuple[str, str, str, str]  # name, label, query, the value of All


def _source(series: str) -> list[Variable]:
    return [
        ("namespace", "Namespace", f"label_values({series}, namespace)", ANY),
        ("classifier", "Classifier", f"label_values({series}{{{WHOSE}}}, classifier)", ANY),
    ]


def _release(series: str) -> list[Variable]:
    return [
        ("home", "Namespace of the release", f"label_values({series}, namespace)", ANY),
        ("release", "Release", f'label_values({series}{{namespace=~"$home"}}, release)', ANY_OR_NONE),
    ]


def dashboard(uid: str, title: str, panels: tuple[Panel, ...], variables: list[Variable]) -> dashboards.Dashboard:
    """A dashboard of these panels; its first variable is the data source."""
    found = dashboards.Dashboard(title).uid(uid).tags([TAG]).readonly().refresh("30s").time("now-6h", "now").timezone("browser")
    found.with_variable(dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name, label, query, any_value in variables:
        found.with_variable(
            dashboards.QueryVariable(name)
            .label(label)
            .query(query)
            .datasource(DATASOURCE)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(any_value)
            .current(VariableOption(text="All", value="$__all"))
        )
    link = dashboards.DashboardLink("Labelwright").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    found.link(link.keep_time(keep_time=True).include_vars(include_vars=True))
    for each in built(panels):
        found.with_panel(each)
    return found


def texts() -> dict[str, str]:
    """The content of each file, by its name."""
    versions = ("version", "Version", f'label_values({serving.SOURCE}{{{WHOSE}, classifier=~"$classifier"}}, version)', ANY)
    asked = 'label_values(labelwright_gateway_predictor_up{namespace=~"$home"}, classifier)'
    made = {
        "classifiers": (classifiers, _source(classifiers.SOURCE)),
        "gateway": (gateway, [*_release(gateway.SOURCE), ("classifier", "Classifier", asked, ANY)]),
        "serving": (serving, [*_source(serving.SOURCE), versions]),
        "training": (training, _source(training.SOURCE)),
        "platform": (platform, _release(platform.SOURCE)),
    }
    found = {}
    for name, (module, variables) in made.items():
        model = dashboard(module.UID, module.TITLE, module.PANELS, variables).build()
        plain = json.loads(json.dumps(model, cls=JSONEncoder))
        found[f"{name}.json"] = json.dumps(as_grafana_writes_it(plain), indent=1, sort_keys=True) + "\n"
    return found


def as_grafana_writes_it(document: dict[str, Any]) -> dict[str, Any]:
    """Without defaults of the SDK that Grafana's own types do not know, or that hide a link in a menu."""
    for variable in document["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):
            variable.pop(name, None)
    for each in (document, *document["panels"]):
        for link in each["links"]:
            link.pop("placement", None)
    return document


def main() -> None:
    """Write the files into the chart."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
