"""The CRDs: made from the types of `resources`, never written by hand. `make crds` puts them where users apply them from."""

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
from k8s.controller.api.v1alpha1.fields import RULES, Spec, Status

Document = dict[str, Any]

MANIFEST = Path("k8s/manifests/controller/00-crds.yaml")
CHART = Path("charts/labelwright/templates/crds")
HEAD = "# Made by `make crds` from the types in k8s/controller/api/v1alpha1: change those."


@dataclass(frozen=True)
class Column:
    """Of what `kubectl get` prints."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False  # only with -o wide

    def document(self) -> Document:
        """As it stands in a CRD."""
        priority = {"priority": 1} if self.wide else {}
        return {"name": self.name, "type": self.type, "description": self.description, "jsonPath": self.path, **priority}


@dataclass(frozen=True)
class Definition:
    """One kind of resource."""

    kind: str
    plural: str
    short: str
    description: str
    longest_name: int  # characters
    spec: type[Spec]
    status: type[Status]
    columns: tuple[Column, ...]


def _of_condition(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


AGE = Column("Age", ".metadata.creationTimestamp", "Since it was made.", type="date")

TEXT_CLASSIFIER = Definition(
    kind="TextClassifier",
    plural="textclassifiers",
    short="tc",
    description="A classifier of texts: where labelled texts are, how good is good enough, when to train again, how to serve it. "
    "The controller trains it, serves it, and keeps it so.",
    longest_name=40,
    spec=TextClassifierSpec,
    status=TextClassifierStatus,
    columns=(
        Column("Version", ".status.version", "The version that answers."),
        Column("Score", ".status.score", "The gate's, of the version that answers.", type="number"),
        Column("State", ".status.state", "What goes on, in one word."),
        Column("Ready", _of_condition("Ready", "status"), "Whether it answers as it should."),
        Column("Gate", _of_condition("GatePassed", "reason"), "What the gate says of the latest published version."),
        AGE,
        Column("Run", ".status.activeRun", "The TrainingRun that has not ended.", wide=True),
        Column("Message", ".status.message", "What the state means now.", wide=True),
    ),
)

# An Indexed Job of 64 nodes adds three characters to its name, and a host's name has 63 at most.
TRAINING_RUN = Definition(
    kind="TrainingRun",
    plural="trainingruns",
    short="trun",
    description="One training of a TextClassifier, and what came of it.",
    longest_name=60,
    spec=TrainingRunSpec,
    status=TrainingRunStatus,
    columns=(
        Column("Date", ".status.startedAt", "When it began."),
        Column("Dataset", ".status.datasetHash", "The beginning of the SHA-256 of the dataset's content."),
        Column("Path", ".spec.dataset.uri", "Where the dataset lies."),
        Column("MLflow", ".status.mlflowRunId", "The run in MLflow."),
        Column("Checkpoint", ".status.bestCheckpoint", "The checkpoint that was published."),
        Column("F1", ".status.score", "The gate's score, on the test part.", type="number"),
        Column("Minimum", ".status.minimum", "The least score that was asked for.", type="number"),
        Column("Weights", ".status.artifactUri", "Where the published version lies."),
        Column("State", ".status.state", "How it stands, in one word."),
        Column("Message", ".status.message", "What came of it.", wide=True),
    ),
)

DEFINITIONS = (TEXT_CLASSIFIER, TRAINING_RUN)


def crd(definition: Definition) -> Document:
    """The CustomResourceDefinition."""
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
    """It becomes the name of Jobs, Services and hosts, which allow less than a custom resource's."""
    return {
        "rule": f"size(self.metadata.name) <= {longest} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": f"metadata.name: expected a lower-case letter, then letters, digits and '-', {longest} at most",
    }


def manifest() -> str:
    """Both, to `kubectl apply`."""
    return "---\n".join([f"{HEAD}\n", *(_yaml(crd(each)) for each in DEFINITIONS)])


def template(definition: Definition) -> str:
    """A template of the chart: there unless `crds.install` is false; upgraded with the chart, and kept without it.

    Raises ValueError if Helm would read something in it.
    """
    document = crd(definition)
    document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    text = _yaml(document)
    if "{{" in text:
        raise ValueError("'{{' in a description: Helm would take it for a template")
    return f"{HEAD}\n{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"


def files() -> dict[Path, str]:
    """What `make crds` writes, by its place below the repository's root."""
    templates = {CHART / f"{each.plural}.yaml": template(each) for each in DEFINITIONS}
    return {MANIFEST: manifest(), **templates}


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _yaml(document: Document) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
