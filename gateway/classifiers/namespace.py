"""Classifiers of a Kubernetes namespace: its InferenceServices with CLASSIFIER_LABEL. Only lists them."""

from __future__ import annotations

from typing import Any

import urllib3
from kubernetes import config as kubeconfig
from kubernetes.client import ApiClient, CustomObjectsApi
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException

from gateway.classifiers.known import NamespaceUnreadable
from gateway.config import CLASSIFIER_LABEL

CALL_SECONDS = 5.0


class Namespace:
    """Namespace in the cluster of this Pod or, outside a cluster, in that of the kubeconfig."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._api: CustomObjectsApi | None = None

    def classifiers(self) -> dict[str, str]:
        """Return the addresses of the predictors by classifier, sorted by name. Raises NamespaceUnreadable."""
        try:
            self._api = self._api or CustomObjectsApi(_client())
            listed: Any = self._api.list_namespaced_custom_object(
                "serving.kserve.io",
                "v1beta1",
                self._name,
                "inferenceservices",
                label_selector=CLASSIFIER_LABEL,
                resource_version="0",  # from the API server's cache, without a read from etcd
                _request_timeout=CALL_SECONDS,
            )
        except (urllib3.exceptions.HTTPError, ApiException, kubeconfig.ConfigException, OSError) as error:
            reason = f"{error.status} {error.reason}" if isinstance(error, ApiException) else str(error)
            raise NamespaceUnreadable(f"cannot list the InferenceServices of namespace {self._name}: {reason}") from error
        found = (each["metadata"] for each in listed.get("items", ()))
        names = sorted(each["name"] for each in found if "deletionTimestamp" not in each)
        # Service that KServe makes in the mode Standard, which the controller sets.
        return {name: f"http://{name}-predictor.{self._name}.svc" for name in names}


def _client() -> ApiClient:
    configuration = Configuration()
    try:
        kubeconfig.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except kubeconfig.ConfigException:
        kubeconfig.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.retries = False
    return ApiClient(configuration)
