"""`python -m tests.support.chart_images COMPONENT`: the reference of an image in the chart's values, without its digest."""

from __future__ import annotations

import functools
import sys

import yaml

from tests.support.chart import CHART


def reference(component: str) -> str:
    """Return registry/repository:tag of a component, such as storage.minio."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    image = functools.reduce(dict.__getitem__, [*component.split("."), "image"], values)
    return f"{image['registry']}/{image['repository']}:{image['tag']}"


if __name__ == "__main__":
    print(reference(sys.argv[1]))  # noqa: T201 - its output
