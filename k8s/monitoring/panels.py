"""Panels of a dashboard: what they show, and how they are laid out and built. Knows no metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, GridPos

COLUMNS, HEIGHT = 24, 8
DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
# Of all that Grafana knows, what is used here.
Unit = Literal["short", "percentunit", "s", "bytes", "reqps", "ops", "cps", "sci"]
Kind = Literal["lines", "numbers", "states"]
Builder = timeseries.Panel | stat.Panel | statetimeline.Panel


@dataclass(frozen=True)
class Query:
    """An expression, and the name of each of its series in the legend."""

    expression: str
    legend: str


@dataclass(frozen=True)
class Link:
    """The dashboard to look at next, by its uid. It gets the variables of the same names."""

    title: str
    dashboard: str


@dataclass(frozen=True)
class Panel:
    """One panel. kind: lines over time; the last value of each series; or when each series was there. width: of 24 columns."""

    title: str
    description: str
    unit: Unit
    queries: tuple[Query, ...]
    link: Link
    kind: Kind = "lines"
    width: int = 8
    maximum: float | None = None


def built(panels: Sequence[Panel]) -> Iterator[Builder]:
    """The panels from left to right and from top to bottom, numbered from 1."""
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > COLUMNS:
            x, y = 0, y + HEIGHT
        yield _built(panel).id(number).grid_pos(GridPos(h=HEIGHT, w=panel.width, x=x, y=y))
        x += panel.width


def _built(panel: Panel) -> Builder:
    builder = {"lines": _lines, "numbers": _numbers, "states": _states}[panel.kind]()
    builder.title(panel.title).description(panel.description).unit(panel.unit).datasource(DATASOURCE).min(0)
    if panel.maximum is not None:
        builder.max(panel.maximum)
    for letter, query in zip("ABCDEF", panel.queries, strict=False):
        builder.with_target(_target(query, letter, at_once=panel.kind == "numbers"))
    url = f"/d/{panel.link.dashboard}?${{__url_time_range}}&${{__all_variables}}"
    return builder.links([dashboards.DashboardLink(panel.link.title).type(DashboardLinkType.LINK).url(url)])


def _lines() -> Builder:
    legend = (
        common_builders.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    tooltip = common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI)
    return timeseries.Panel().legend(legend).tooltip(tooltip).line_width(2).fill_opacity(10)


def _numbers() -> Builder:
    options = common_builders.ReduceDataOptions().calcs(["lastNotNull"])
    return stat.Panel().reduce_options(options).text_mode(common.BigValueTextMode.VALUE_AND_NAME)


def _states() -> Builder:
    legend = common_builders.VizLegendOptions().show_legend(show_legend=False)
    return statetimeline.Panel().legend(legend).show_value(common.VisibilityMode.NEVER).row_height(0.8)


def _target(query: Query, letter: str, *, at_once: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).expr(query.expression).legend_format(query.legend).datasource(DATASOURCE)
    return target.instant() if at_once else target.range()
