"""Serving of a classifier: KServe's InferenceService and ServingRuntime."""

from __future__ import annotations

from k8s.controller.api.v1alpha1 import ServingSpec, StorageSpec, TextClassifierSpec
from k8s.controller.builders.job_pods import NOT_ROOT, RESTRICTED, arguments, key_env, keys_from, place, requested
from k8s.controller.builders.training_job import Images
from k8s.controller.objects import names
from k8s.controller.objects.documents import owner
from k8s.controller.objects.kinds import INFERENCE_SERVICE, SERVING_RUNTIME, Document
from k8s.controller.objects.ports import PREDICTOR_GRPC_PORT, PREDICTOR_HTTP_PORT

SERVER = "kserve-container"  # name that KServe expects
MODELS = "/mnt/models"
VERSION = "version"  # volume of the downloaded version
# Name of KServe's own downloader: if a container has it, KServe adds none.
DOWNLOADER = "storage-initializer"
VERSION_SIZE = "4Gi"  # an ONNX model has at most 2 GiB, since it is one protobuf message
MANIFEST_OPTION = "--manifest-sha256"  # option of downloader and server
# Small requests, so that classifiers with few requests share a node.
RESOURCES = {"requests": {"cpu": "250m", "memory": "384Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}


def serving_runtime(classifier: Document, images: Images) -> Document:
    """Return the ServingRuntime: image, ports, probes, limits. KServe replaces {{.Name}} by the InferenceService's name."""
    name = classifier["metadata"]["name"]
    return {
        "apiVersion": SERVING_RUNTIME.api_version,
        "kind": SERVING_RUNTIME.kind,
        "metadata": _metadata(classifier, name),
        "spec": {
            "supportedModelFormats": [{"name": "labelwright", "version": "1", "autoSelect": False}],
            "protocolVersions": ["v2", "v1", "grpc-v2"],
            "multiModel": False,
            # Written here, because KServe's own scraping annotation leads to a port that only Knative has.
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(PREDICTOR_HTTP_PORT),
                "prometheus.io/path": "/metrics",
            },
            "containers": [_container(images)],
            "volumes": [
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
                {"name": VERSION, "emptyDir": {"sizeLimit": VERSION_SIZE}},
            ],
        },
    }


def _container(images: Images) -> Document:
    ready = {"path": "/v2/models/{{.Name}}/ready", "port": PREDICTOR_HTTP_PORT}
    return {
        "name": SERVER,
        "image": images.predictor,
        "imagePullPolicy": images.pull_policy,
        "args": [
            "--model_name={{.Name}}",
            f"--model_dir={MODELS}",
            f"--http_port={PREDICTOR_HTTP_PORT}",
            f"--grpc_port={PREDICTOR_GRPC_PORT}",
        ],
        "ports": [  # the first is the Service's port 80, the second keeps its number
            {"name": "http1", "containerPort": PREDICTOR_HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": PREDICTOR_GRPC_PORT, "protocol": "TCP"},
        ],
        # 60 s to load and answer once. Until then, the other two probes wait.
        "startupProbe": {"httpGet": ready, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "failureThreshold": 2},
        # Slow to fail, since a busy server is not dead.
        "livenessProbe": {
            "httpGet": {"path": "/v2/health/live", "port": PREDICTOR_HTTP_PORT},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # Before SIGTERM, so that the Pod's address is out of every proxy's list.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": RESOURCES,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **RESTRICTED},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a Pod's own
            {"name": VERSION, "mountPath": MODELS, "readOnly": True},
        ],
    }


def inference_service(
    classifier: Document, spec: TextClassifierSpec, images: Images, *, uri: str, manifest_sha256: str | None = None
) -> Document:
    """Return the InferenceService of one version.

    Add no other labels or annotations: KServe copies them to the Pods, and a change restarts all of them. manifest_sha256: digest
    that downloader and server require; None: they accept any.
    """
    name, serving = classifier["metadata"]["name"], spec.serving
    model: Document = {
        "runtime": name,
        "modelFormat": {"name": "labelwright"},
        "protocolVersion": "v2",
        "storageUri": uri,
    }
    if manifest_sha256:  # KServe appends it to the arguments of the runtime
        model["args"] = arguments(f"{MANIFEST_OPTION}={manifest_sha256}")
    resources = requested(serving.resources)
    if resources:
        model["resources"] = resources
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "metadata": {**_metadata(classifier, name), "annotations": _annotations(serving)},
        "spec": {
            "predictor": {
                **_account(spec.storage),
                "automountServiceAccountToken": False,  # the predictor does not use the Kubernetes API
                **_replicas(serving),
                **place(serving.node_selector, serving.tolerations),
                "securityContext": NOT_ROOT,
                "initContainers": [_downloader(_storage(spec), images, uri=uri, manifest_sha256=manifest_sha256)],
                "model": model,
            }
        },
    }


def _storage(spec: TextClassifierSpec) -> StorageSpec:
    """Return the storage with the credentials of the Pods that serve."""
    secret = spec.serving.secret_name
    return spec.storage.model_copy(update={"secret_name": secret}) if secret else spec.storage


def _account(storage: StorageSpec) -> Document:
    return {"serviceAccountName": storage.service_account_name} if storage.service_account_name else {}


def _downloader(storage: StorageSpec, images: Images, *, uri: str, manifest_sha256: str | None) -> Document:
    """Return the container that downloads the version with the keys of the storage's Secret."""
    return {
        "name": DOWNLOADER,
        "image": images.predictor,
        "imagePullPolicy": images.pull_policy,
        "command": ["python", "-m", "model.download"],
        "args": arguments(uri, MODELS, *([f"{MANIFEST_OPTION}={manifest_sha256}"] if manifest_sha256 else [])),
        "env": key_env(storage),
        "envFrom": keys_from(storage),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",  # KServe and the controller report it
        "securityContext": {"runAsNonRoot": True, **RESTRICTED},
        "volumeMounts": [{"name": VERSION, "mountPath": MODELS}],
    }


def _is_autoscaled(serving: ServingSpec) -> bool:
    replicas = serving.replicas
    return replicas.maximum is not None and replicas.maximum > replicas.minimum


def _annotations(serving: ServingSpec) -> dict[str, str]:
    return {
        # KServe's own default is Knative, and the mode of an InferenceService cannot be changed.
        f"{names.KSERVE_GROUP}/deploymentMode": "Standard",
        f"{names.KSERVE_GROUP}/autoscalerClass": "hpa" if _is_autoscaled(serving) else "none",
    }


def _replicas(serving: ServingSpec) -> Document:
    scales = {"maxReplicas": serving.replicas.maximum} if _is_autoscaled(serving) else {}
    return {"minReplicas": serving.replicas.minimum, **scales}


def _metadata(classifier: Document, name: str) -> Document:
    metadata = classifier["metadata"]
    return {
        "name": name,
        "namespace": metadata["namespace"],
        "labels": names.labels("predictor", classifier=metadata["name"]),
        "ownerReferences": [owner(classifier)],
    }
