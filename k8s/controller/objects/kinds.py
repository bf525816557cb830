"""Kinds of objects that the controller reads and writes, and their paths in the API.

A document is an object as JSON. Paths follow from the kind, without the server's discovery, so a kind that is not installed
is noticed only when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from k8s.controller.api.v1alpha1 import GROUP, VERSION
from k8s.controller.objects.names import KSERVE_GROUP

Document = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """Kind of object. plural: its name in the API's paths."""

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of one object, or of all in the namespace; an empty namespace means the whole cluster."""
        root = "/api" if "/" not in self.api_version else "/apis"
        places = ["namespaces", namespace] if namespace else []
        return "/".join([root, self.api_version, *places, self.plural, *([name] if name else [])])


TEXT_CLASSIFIER = Kind(f"{GROUP}/{VERSION}", "TextClassifier", "textclassifiers")
TRAINING_RUN = Kind(f"{GROUP}/{VERSION}", "TrainingRun", "trainingruns")
INFERENCE_SERVICE = Kind(f"{KSERVE_GROUP}/v1beta1", "InferenceService", "inferenceservices")
SERVING_RUNTIME = Kind(f"{KSERVE_GROUP}/v1alpha1", "ServingRuntime", "servingruntimes")
JOB = Kind("batch/v1", "Job", "jobs")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")

KINDS = (
    TEXT_CLASSIFIER,
    TRAINING_RUN,
    INFERENCE_SERVICE,
    SERVING_RUNTIME,
    JOB,
    DEPLOYMENT,
    REPLICA_SET,
    POD,
    SERVICE,
    NETWORK_POLICY,
    SERVICE_ACCOUNT,
    EVENT,
    LEASE,
    CRD,
)
_BY_NAMES = {(each.api_version, each.kind): each for each in KINDS}


def kind_of(document: Mapping[str, Any]) -> Kind:
    """Return the kind of the document. Raises LookupError for one that is not in this module."""
    names = (document["apiVersion"], document["kind"])
    if names not in _BY_NAMES:
        raise LookupError(f"{names[1]} of {names[0]} is not in k8s.controller.objects.kinds")
    return _BY_NAMES[names]
