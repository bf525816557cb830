"""Programs of Prometheus: promtool, which checks rules and configurations, and the server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.chart import PROGRAMS, Rendered

OLDEST = 2  # major version


def program(name: str) -> str:
    """The path of promtool or prometheus. Skips the test where it is missing."""
    found = shutil.which(name, path=f"{PROGRAMS}:{os.environ.get('PATH', '')}")
    if not found:
        pytest.skip(f"needs the program {name}")
    return found


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def configuration(them: Rendered) -> dict[str, str]:
    """The files of the managed Prometheus, by name."""
    return dict(them.one("ConfigMap", "lw-labelwright-prometheus")["data"])


def rules(them: Rendered) -> list[dict[str, Any]]:
    """The alerts of what was rendered, of the managed Prometheus or for the operator."""
    resources = them.all("PrometheusRule")
    groups = resources[0]["spec"]["groups"] if resources else yaml.safe_load(configuration(them)["alerts.yml"])["groups"]
    return [rule for group in groups for rule in group["rules"]]


def statically(text: str, targets: dict[str, tuple[str, dict[str, str]]]) -> str:
    """A configuration of Prometheus in which every job scrapes one address instead of those that its discovery finds.

    targets: address and labels that the discovery would give, by the job's name. Jobs that are not named go.
    """
    found = yaml.safe_load(text)
    jobs = []
    for job in found["scrape_configs"]:
        if job["job_name"] in targets:
            address, labels = targets[job["job_name"]]
            kept = {name: value for name, value in job.items() if not re.search("_sd_configs|relabel_configs", name)}
            jobs.append({**kept, "static_configs": [{"targets": [address], "labels": labels}], "metrics_path": "/metrics"})
    return yaml.safe_dump({**found, "scrape_configs": jobs})
