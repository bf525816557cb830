"""KServe, the deployment controller, and the kubelet's part for serving Pods.

An InferenceService becomes the Deployment `<name>-predictor`, whose Pods are replaced one by one: at most one more than wanted,
and never fewer ready ones than wanted. KServe keeps a finalizer on the InferenceService, and copies the Deployment's state to its
status. ReplicaSets are left out: the Deployment owns its Pods.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from k8s.controller.clients.kubernetes import DEPLOYMENT, INFERENCE_SERVICE, POD, SERVING_RUNTIME, Document
from tests.support.fakes import timestamp
from tests.support.kubernetes.world_parts import Action, condition, is_going, is_true, owned_by, owner_of, with_conditions

if TYPE_CHECKING:
    from tests.support.kubernetes.world import World

SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
SERVED_BY = "serving.kserve.io/inferenceservice"
FINALIZER = "inferenceservice.finalizers"
HASH = "pod-template-hash"
PROGRESS_DEADLINE = 600  # seconds


def possible(world: World) -> list[Action]:
    """Return the next actions of KServe, deployment controller and kubelet."""
    services, deployments = world.all(INFERENCE_SERVICE), world.all(DEPLOYMENT)
    pods = [each for each in world.all(POD) if SERVED_BY in each["metadata"]["labels"]]
    return [
        *(action for each in services for action in _of_service(world, each)),
        *(action for each in deployments for action in _of_deployment(world, each, [pod for pod in pods if owned_by(pod, each)])),
        *(action for each in pods for action in _of_pod(world, each)),
    ]


def _of_service(world: World, service: Document) -> Iterator[Action]:
    metadata = service["metadata"]
    name, held = metadata["name"], FINALIZER in metadata.get("finalizers", [])
    if is_going(service):
        if held:
            yield Action(f"kserve lets go of {name}", lambda: _hold(world, service, is_held=False))
        return
    if not held:
        yield Action(f"kserve holds {name}", lambda: _hold(world, service, is_held=True))
        return
    runtime = world.cluster.get(SERVING_RUNTIME, metadata["namespace"], service["spec"]["predictor"]["model"].get("runtime", ""))
    deployment = world.cluster.get(DEPLOYMENT, metadata["namespace"], f"{name}-predictor")
    if runtime is not None:
        wanted = _deployment(service, runtime)
        if deployment is None or any(deployment["spec"].get(key) != value for key, value in wanted["spec"].items()):
            yield Action(f"kserve makes the deployment of {name}", lambda: _make(world, wanted, deployment))
    status = _status(world, service, deployment, has_runtime=runtime is not None)
    if status != service.get("status"):
        yield Action(f"kserve tells of {name}", lambda: _put(world, service, status))


def _of_deployment(world: World, deployment: Document, pods: list[Document]) -> Iterator[Action]:
    name, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
    there = [each for each in pods if not is_going(each)]
    new = [each for each in there if each["metadata"]["labels"][HASH] == _hash(deployment)]
    old = [each for each in there if each not in new]
    ready = [each for each in there if is_true(each, "Ready")]
    if not is_going(deployment):
        if len(new) < wanted and len(there) < wanted + 1:
            yield Action(f"{name} gets a pod", lambda: _make_pod(world, deployment))
        surplus = [*old, *new[wanted:]]
        for pod in surplus:
            if len(there) > wanted and (not is_true(pod, "Ready") or len(ready) > wanted):
                address = (POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
                yield Action(f"{name} stops a pod", lambda address=address: world.cluster.delete(*address))  # type: ignore[misc]
        status = _count(world, deployment, there, new)
        if status != deployment.get("status"):
            yield Action(f"{name} is counted", lambda: _put(world, deployment, status))


def _of_pod(world: World, pod: Document) -> Iterator[Action]:
    metadata = pod["metadata"]
    name, address = metadata["name"], (POD, metadata["namespace"], metadata["name"])
    if is_going(pod):
        yield Action(f"pod {name} is gone", lambda: world.cluster.remove(*address))
    elif pod["status"]["phase"] == "Pending":
        yield Action(f"pod {name} runs", lambda: _run(world, pod))
    elif not is_true(pod, "Ready") and metadata["annotations"][SOURCE] not in world.broken_versions:
        yield Action(f"pod {name} is ready", lambda: _set_ready(world, pod))


def _hold(world: World, service: Document, *, is_held: bool) -> None:
    service["metadata"]["finalizers"] = [FINALIZER] if is_held else []
    annotations = service["metadata"].setdefault("annotations", {})
    annotations["modelFormat"] = service["spec"]["predictor"]["model"]["modelFormat"]["name"]
    world.cluster.put(service)


def _deployment(service: Document, runtime: Document) -> Document:
    """Return the Deployment as KServe makes it: its Pods have the InferenceService's labels and annotations, and the runtime."""
    metadata, predictor = service["metadata"], service["spec"]["predictor"]
    name = metadata["name"]
    labels = {**metadata.get("labels", {}), "app": f"isvc.{name}-predictor", "component": "predictor", SERVED_BY: name}
    kept = {key: value for key, value in metadata.get("annotations", {}).items() if key != "modelFormat"}
    annotations = {**runtime["spec"].get("annotations", {}), **kept, SOURCE: predictor["model"]["storageUri"]}
    added = predictor["model"].get("args", [])
    resources = {"resources": predictor["model"]["resources"]} if "resources" in predictor["model"] else {}
    containers = [
        {**each, "args": [*each.get("args", []), *added], **resources} for each in copy.deepcopy(runtime["spec"]["containers"])
    ]
    template: Document = {"metadata": {"labels": labels, "annotations": annotations}, "spec": {"containers": containers}}
    template["spec"]["initContainers"] = copy.deepcopy(predictor.get("initContainers", []))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"{name}-predictor",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_of(service)],
        },
        "spec": {"replicas": predictor.get("minReplicas", 1), "template": template},
    }


def _make(world: World, wanted: Document, there: Document | None) -> None:
    if there is not None and is_going(there):
        return
    world.cluster.put({**wanted, "status": (there or {}).get("status", {})})


def _status(world: World, service: Document, deployment: Document | None, *, has_runtime: bool) -> Document:
    """Return the status. The generation is the Deployment's; until KServe has seen a change, the status is the previous one."""
    metadata = service["metadata"]
    old: Document = service.get("status", {})
    if not has_runtime:
        info = {"reason": "RuntimeNotRecognized", "message": "Waiting for runtime to become available"}
        model = {"lastFailureInfo": info, "states": {"activeModelState": "", "targetModelState": "FailedToLoad"}}
        unready = [condition(world, kind, "False", reason="RuntimeNotRecognized") for kind in ("PredictorReady", "Ready")]
        return old | {
            "modelStatus": model | {"transitionStatus": "InvalidSpec"},
            "conditions": with_conditions(service, *unready),
        }
    if deployment is None or not deployment.get("status"):
        return old
    ready, why = _readiness(deployment)
    conditions = [condition(world, kind, ready, **why) for kind in ("PredictorReady", "Ready")]
    name = metadata["name"]
    url = f"http://{name}-predictor.{metadata['namespace']}.svc.cluster.local"
    states = {
        "activeModelState": "" if ready == "False" else "Loaded",
        "targetModelState": "Loaded" if ready == "True" else "Pending",
    }
    return {
        "address": {"url": url},
        "url": f"http://{name}-{metadata['namespace']}.example.com",
        "components": {"predictor": {}},
        "conditions": with_conditions(service, condition(world, "IngressReady", "True"), *conditions),
        "deploymentMode": "Standard",
        "modelStatus": {"states": states, "transitionStatus": "UpToDate" if ready == "True" else "InProgress"},
        "observedGeneration": deployment["status"].get("observedGeneration", 0),
        "servingRuntimeName": service["spec"]["predictor"]["model"].get("runtime"),
    }


def _readiness(deployment: Document) -> tuple[str, dict[str, str]]:
    """Return Unknown while Pods are replaced, False with too few Pods or after the deadline."""
    conditions = {each["type"]: each for each in deployment["status"]["conditions"]}
    available, progressing = conditions["Available"], conditions["Progressing"]
    if available["status"] != "True":
        return "False", {"reason": available["reason"], "message": available["message"]}
    if progressing["status"] != "True":
        return "False", {"reason": progressing["reason"]}
    if progressing["reason"] == "ReplicaSetUpdated":
        return "Unknown", {"reason": "ReplicaSetUpdated"}
    return "True", {}


def _hash(deployment: Document) -> str:
    return hashlib.sha256(json.dumps(deployment["spec"]["template"], sort_keys=True).encode()).hexdigest()[:10]


def _make_pod(world: World, deployment: Document) -> None:
    template = copy.deepcopy(deployment["spec"]["template"])
    made = {
        "name": world.fresh_name(f"{deployment['metadata']['name']}-{_hash(deployment)}"),
        "namespace": deployment["metadata"]["namespace"],
        "labels": {**template["metadata"]["labels"], HASH: _hash(deployment)},
        "annotations": template["metadata"]["annotations"],
        "ownerReferences": [owner_of(deployment)],
    }
    spec = template["spec"] | {"nodeName": "node"}
    status = {"phase": "Pending", "conditions": [condition(world, "Ready", "False", reason="ContainersNotReady")]}
    world.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec, "status": status})


def _run(world: World, pod: Document) -> None:
    status = pod["status"] | {"phase": "Running", "podIP": "198.51.100.7"}
    if pod["metadata"]["annotations"][SOURCE] in world.broken_versions:
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container=kserve-container"}
        ended = {"exitCode": 1, "reason": "Error", "message": "model.onnx differs from its manifest"}
        container = {
            "name": "kserve-container",
            "state": {"waiting": waiting},
            "lastState": {"terminated": ended},
            "restartCount": 1,
        }
        status["containerStatuses"] = [container]
    _put(world, pod, status)


def _set_ready(world: World, pod: Document) -> None:
    _put(world, pod, pod["status"] | {"conditions": with_conditions(pod, condition(world, "Ready", "True"))})


def _count(world: World, deployment: Document, there: list[Document], new: list[Document]) -> Document:
    wanted, old = deployment["spec"]["replicas"], deployment.get("status", {})
    ready = sum(is_true(each, "Ready") for each in there)
    numbers = {"replicas": len(there), "updatedReplicas": len(new), "readyReplicas": ready, "availableReplicas": ready}
    numbers["unavailableReplicas"] = max(wanted - ready, len(there) - ready)
    status: Document = {"observedGeneration": deployment["metadata"]["generation"]}
    status |= {name: number for name, number in numbers.items() if number}
    available = condition(world, "Available", str(ready >= wanted), reason="MinimumReplicasAvailable")
    if ready < wanted:
        available |= {"reason": "MinimumReplicasUnavailable", "message": "Deployment does not have minimum availability."}
    is_new = len(new) == len(there) == wanted and all(is_true(each, "Ready") for each in new)
    progress = {key: value for key, value in old.items() if key != "conditions"} != status
    return status | {
        "conditions": with_conditions(deployment, available, _progress(world, deployment, is_new=is_new, moves=progress))
    }


def _progress(world: World, deployment: Document, *, is_new: bool, moves: bool) -> Document:
    now = timestamp(world.clock())
    conditions: list[Document] = deployment.get("status", {}).get("conditions", [])
    old = next((each for each in conditions if each["type"] == "Progressing"), None)
    if is_new:
        reason, status = "NewReplicaSetAvailable", "True"
    elif old is not None and not moves and _seconds_since(world, old["lastUpdateTime"]) >= PROGRESS_DEADLINE:
        reason, status = "ProgressDeadlineExceeded", "False"
    else:
        reason, status = "ReplicaSetUpdated", "True"
    since = now if moves or old is None or old["reason"] != reason else old["lastUpdateTime"]
    if old is not None and old["reason"] == "ProgressDeadlineExceeded" and not moves and not is_new:
        return old
    return condition(world, "Progressing", status, reason=reason) | {"lastUpdateTime": since}


def _seconds_since(world: World, time: str) -> float:
    return (world.clock() - datetime.fromisoformat(time.replace("Z", "+00:00"))).total_seconds()


def _put(world: World, document: Document, status: Document) -> None:
    world.cluster.put({**document, "status": status})
