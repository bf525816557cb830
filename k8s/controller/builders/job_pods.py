"""Pod of every Job: no rights, a scratch disk as the only writable one, and the credentials of the storage.

The Pods that serve use some of its parts (`k8s.controller.builders.serving`).
"""

from __future__ import annotations

from typing import Any

from k8s.controller.api.v1alpha1 import ResourcesSpec, StorageSpec, TolerationSpec
from k8s.controller.objects.kinds import Document

USER = 65532
RESULT = "/dev/termination-log"
RESTRICTED = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
NOT_ROOT = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def arguments(*texts: str) -> list[str]:
    """Return the texts as a container's arguments, so that the program gets them as they are.

    The kubelet would replace $(NAME) by the variable's value, such as one of the Secret's, and $$ by $.
    """
    return [text.replace("$", "$$") for text in texts]


def variables(settings: dict[str, str]) -> list[Document]:
    """Return the settings as a container's variables; the kubelet expands them as it does arguments."""
    return [{"name": name, "value": value} for name, value in zip(settings, arguments(*settings.values()), strict=True)]


def keys_from(storage: StorageSpec) -> list[Document]:
    """Return the envFrom of a container that uses the storage: all keys of its Secret, if it has one."""
    return [{"secretRef": {"name": storage.secret_name}}] if storage.secret_name else []


def key_env(storage: StorageSpec) -> list[Document]:
    """Return the variables that belong to `keys_from`: without them, boto3 uses the node's role if the Secret lacks keys."""
    return variables({"AWS_EC2_METADATA_DISABLED": "true"}) if storage.secret_name else []


def requested(resources: ResourcesSpec) -> Document:
    """Return the resources of a container, {} if none are set."""
    quantities_of = {"requests": resources.requests, "limits": resources.limits}
    return {name: quantities for name, quantities in quantities_of.items() if quantities}


def place(node_selector: dict[str, str], tolerations: tuple[TolerationSpec, ...]) -> Document:
    """Return the fields of a Pod that choose its nodes, {} if none are set."""
    fields: Document = {
        "nodeSelector": dict(node_selector),
        "tolerations": [each.model_dump(by_alias=True, exclude_none=True) for each in tolerations],
    }
    return {name: value for name, value in fields.items() if value}


def container(name: str, image: str, *, args: list[str], env: list[Document], storage: StorageSpec, **more: Any) -> Document:
    """Return a restricted container with the keys of the storage's Secret as variables. Its termination message is the result."""
    return {
        "name": name,
        "image": image,
        "args": arguments(*args),
        "env": [
            *variables({"LABELWRIGHT__RESULT_FILE": RESULT, "LABELWRIGHT__PROGRESS__LOG_FORMAT": "json"}),
            *key_env(storage),
            *env,
        ],
        "envFrom": keys_from(storage),
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],  # noqa: S108 - a Pod's own
        **more,
    }


def pod(container: Document, *, storage: StorageSpec, scratch: str, **more: Any) -> Document:
    """Return the Pod around one container. scratch: size of its disk, such as 20Gi."""
    account = {"serviceAccountName": storage.service_account_name} if storage.service_account_name else {}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,  # it does not use the Kubernetes API
        **account,
        "securityContext": {**NOT_ROOT, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": scratch}}],
        **more,
    }
