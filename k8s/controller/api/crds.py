"""CRDs, generated from the types in `v1alpha1`. `make crds` writes them to the manifests and the chart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from k8s.controller.api.schemas import structural
from k8s.controller.api.v1alpha1 import (
    GROUP,
    VERSION,
    TextClassifierSpec,
    TextClassifierStatus,
    TrainingRunSpec,
    TrainingRunStatus,
)
from k8s.controller.api.v1alpha1.fields import RULES, SpecModel, StatusModel
from k8s.controller.api.v1alpha1.printer_columns import TEXT_CLASSIFIER_COLUMNS, TRAINING_RUN_COLUMNS, PrinterColumn

Document = dict[str, Any]

MANIFEST = Path("k8s/manifests/controller/00-crds.yaml")
CHART = Path("charts/labelwright/templates/crds")
HEAD = "# Made by `make crds` from the types in k8s/controller/api/v1alpha1: change those."


@dataclass(frozen=True)
class Definition:
    """One kind of resource."""

    kind: str
    plural: str
    short: str
    description: str
    longest_name: int  # characters
    spec: type[SpecModel]
    status: type[StatusModel]
    columns: tuple[PrinterColumn, ...]


TEXT_CLASSIFIER = Definition(
    kind="TextClassifier",
    plural="textclassifiers",
    short="tc",
    description="A text classifier. The controller trains it on a dataset, serves the versions that pass a quality "
    "gate, and trains again when a trigger asks for it.",
    longest_name=40,
    spec=TextClassifierSpec,
    status=TextClassifierStatus,
    columns=TEXT_CLASSIFIER_COLUMNS,
)

# An Indexed Job of 64 nodes adds three characters to the name, and a host name has at most 63.
TRAINING_RUN = Definition(
    kind="TrainingRun",
    plural="trainingruns",
    short="trun",
    description="One training of a TextClassifier, and its outcome.",
    longest_name=60,
    spec=TrainingRunSpec,
    status=TrainingRunStatus,
    columns=TRAINING_RUN_COLUMNS,
)

DEFINITIONS = (TEXT_CLASSIFIER, TRAINING_RUN)


def crd(definition: Definition) -> Document:
    """Return the CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{GROUP}", "labels": {"app.kubernetes.io/name": "labelwright"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short],
                "categories": ["labelwright"],
            },
            "versions": [_version(definition)],
        },
    }


def _version(definition: Definition) -> Document:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.document() for column in definition.columns],
        "schema": {"openAPIV3Schema": _schema(definition)},
    }


def _schema(definition: Definition) -> Document:
    return {
        "description": definition.description,
        "type": "object",
        "required": ["spec"],
        RULES: [_name_rule(definition.longest_name)],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(definition.spec),
            "status": structural(definition.status),
        },
    }


def _name_rule(longest: int) -> Document:
    """Return the rule for metadata.name, which becomes the name of Jobs, Services and hosts."""
    return {
        "rule": f"size(self.metadata.name) <= {longest} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": f"metadata.name: expected a lower-case letter, then letters, digits and '-', {longest} at most",
    }


def manifest() -> str:
    """Return both CRDs as one YAML manifest."""
    return "---\n".join([f"{HEAD}\n", *(_yaml(crd(each)) for each in DEFINITIONS)])


def template(definition: Definition) -> str:
    """Return the chart's template of a CRD. `helm upgrade` upgrades the CRD, `helm uninstall` keeps it.

    Raises ValueError if Helm would read something in it.
    """
    document = crd(definition)
    document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    text = _yaml(document)
    if "{{" in text:
        raise ValueError("'{{' in a description: Helm would take it for a template")
    return f"{HEAD}\n{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"


def files() -> dict[Path, str]:
    """Return the contents of the files that `make crds` writes, by path below the repository's root."""
    templates = {CHART / f"{each.plural}.yaml": template(each) for each in DEFINITIONS}
    return {MANIFEST: manifest(), **templates}


class _Dumper(yaml.SafeDumper):
    """Dumper that writes no YAML anchors or aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _yaml(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
