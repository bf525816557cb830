"""The chart as an archive, and what Artifact Hub reads of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CASES, CHART, case, helm, rendered

ABOUT = yaml.safe_load((CHART / "Chart.yaml").read_text())
OBJECTS = Path(__file__).parent / "default-objects.txt"


def test_the_archive_renders_what_the_folder_does(tmp_path: Path) -> None:
    done = subprocess.run(
        [helm(), "package", str(CHART), f"--destination={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    assert rendered(chart=tmp_path / f"labelwright-{ABOUT['version']}.tgz").documents == rendered().documents


def test_it_lists_the_images_that_it_uses() -> None:
    used = {each["image"] for path in CASES if path.stem != "hardened-values" for _, each in case(path).containers()}
    listed = yaml.safe_load(ABOUT["annotations"]["artifacthub.io/images"])

    assert {each["image"] for each in listed} == used
    assert len({each["name"] for each in listed}) == len(listed)


def test_it_lists_the_kinds_that_it_installs() -> None:
    listed = yaml.safe_load(ABOUT["annotations"]["artifacthub.io/crds"])

    installed = {each["metadata"]["name"]: each["spec"] for each in rendered().all("CustomResourceDefinition")}
    assert {each["name"]: (each["kind"], each["version"]) for each in listed} == {
        name: (spec["names"]["kind"], spec["versions"][0]["name"]) for name, spec in installed.items()
    }


def test_it_lists_what_has_changed() -> None:
    for each in yaml.safe_load(ABOUT["annotations"]["artifacthub.io/changes"]):
        assert set(each) == {"kind", "description"}
        assert each["kind"] in {"added", "changed", "deprecated", "removed", "fixed", "security"}


def test_the_objects_of_the_default_values_are_these() -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered().documents]
    # The name of a Job ends in a hash of its spec.
    found = sorted(f"{kind} {name.rpartition('-')[0] if kind == 'Job' else name}" for kind, name in names)

    assert "\n".join(found) + "\n" == OBJECTS.read_text(), f"write what is right to {OBJECTS.name}"


@pytest.mark.parametrize(
    "name",
    [
        "minimal",
        "demo",
        "external-s3",
        "external-valkey",
        "seaweedfs",
        "prometheus-operator",
        "external-grafana",
        "hardened",
        "everything",
    ],
)
def test_there_are_values_for_a_typical_installation(name: str) -> None:
    assert CHART / "ci" / f"{name}-values.yaml" in CASES
