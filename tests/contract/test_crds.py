"""The CRDs that users apply, from the chart or the manifest, are those of the types."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from k8s.controller.api.crds import CHART, DEFINITIONS, MANIFEST, Definition, crd, files

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", files(), ids=str)
def test_what_make_crds_writes_is_up_to_date(path: Path) -> None:
    assert (ROOT / path).read_text() == files()[path], "the types have changed: make crds"


def test_the_manifest_holds_every_kind() -> None:
    assert list(yaml.safe_load_all((ROOT / MANIFEST).read_text())) == [crd(each) for each in DEFINITIONS]


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_the_chart_holds_the_same_and_keeps_it_when_it_goes(definition: Definition) -> None:
    lines = (ROOT / CHART / f"{definition.plural}.yaml").read_text().splitlines()
    document = yaml.safe_load("\n".join(line for line in lines if "{{" not in line))

    assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert document == crd(definition)
    assert [line for line in lines if "{{" in line] == ["{{- if .Values.crds.install }}", "{{- end }}"]
