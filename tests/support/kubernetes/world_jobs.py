"""Job controller, and the kubelet's part for a Job's Pods.

As in Kubernetes, a Job first gets a condition for its coming end (SuccessCriteriaMet, FailureTarget), then its remaining Pods are
stopped, then it is Complete or Failed. A Pod keeps a finalizer until it is counted.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from k8s.controller.clients.kubernetes import JOB, POD, Document
from tests.support.fakes import timestamp
from tests.support.kubernetes.world_parts import Action, condition, is_going, is_true, owned_by, owner_of, with_conditions

if TYPE_CHECKING:
    from tests.support.kubernetes.world import World

JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
TRACKED = "batch.kubernetes.io/job-tracking"
OVER = ("Succeeded", "Failed")


def possible(world: World) -> list[Action]:
    """Return the next actions of job controller and kubelet."""
    pods = [each for each in world.all(POD) if JOB_NAME in each["metadata"]["labels"]]
    jobs = world.all(JOB)
    of_jobs = [action for job in jobs for action in _of_job(world, job, [each for each in pods if owned_by(each, job)])]
    alive = {each["metadata"]["uid"] for each in jobs}
    return [*of_jobs, *(action for pod in pods for action in _of_pod(world, pod, alive))]


def kill(world: World, pod: Document) -> None:
    """Kill a Pod as the kernel does, without a termination message."""
    _end(world, pod, code=137, message="", reason="OOMKilled")


def _of_job(world: World, job: Document, pods: list[Document]) -> Iterator[Action]:
    name = job["metadata"]["name"]
    if is_true(job, "Complete") or is_true(job, "Failed"):
        if _is_past(world, _ended(job), job["spec"].get("ttlSecondsAfterFinished")):
            address = (JOB, job["metadata"]["namespace"], name)
            yield Action(f"job {name} is cleaned up", lambda: world.cluster.delete(*address))
        return
    is_ending = is_true(job, "FailureTarget") or is_true(job, "SuccessCriteriaMet")
    wanted = _missing(job, pods) if not is_ending and not job["spec"].get("suspend") else []
    for index in wanted:
        yield Action(f"job {name} gets a pod", lambda index=index: _make_pod(world, job, index))  # type: ignore[misc]
    if is_ending:
        for pod in pods:
            if pod["status"]["phase"] not in OVER and not is_going(pod):
                address = (POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
                yield Action(f"job {name} stops a pod", lambda address=address: world.cluster.delete(*address))  # type: ignore[misc]
    status = _next_status(world, job, pods)
    uncounted = [each for each in pods if each["status"]["phase"] in OVER and TRACKED in each["metadata"].get("finalizers", [])]
    if uncounted or status != job.get("status", {}):
        yield Action(f"job {name} is counted", lambda: _count(world, job, pods, status))


def _of_pod(world: World, pod: Document, alive: set[str]) -> Iterator[Action]:
    metadata, phase = pod["metadata"], pod["status"]["phase"]
    name, address = metadata["name"], (POD, metadata["namespace"], metadata["name"])
    is_orphan = not any(each["uid"] in alive for each in metadata["ownerReferences"])
    if is_orphan and metadata.get("finalizers"):
        yield Action(f"pod {name} is let go", lambda: _let_go(world, pod))
    if phase in OVER:
        if is_going(pod) and not metadata.get("finalizers"):
            yield Action(f"pod {name} is gone", lambda: world.cluster.remove(*address))
    elif is_going(pod):
        # It has time to save a checkpoint, if it runs: 143; else it never said a word.
        code = 143 if phase == "Running" else 137
        yield Action(f"pod {name} stops", lambda: _end(world, pod, code=code, message="", reason="Error"))
    elif phase == "Running":
        yield Action(f"pod {name} ends", lambda: _finish(world, pod))
    elif waits := _hindrance(world, pod):
        if pod["status"] != waits:
            yield Action(f"pod {name} waits", lambda: _put_status(world, pod, waits))
    else:
        yield Action(f"pod {name} runs", lambda: _run(world, pod))


def _missing(job: Document, pods: list[Document]) -> list[str | None]:
    """Return the indices that need a Pod; [None] for a Job without indices. A Pod that is being deleted keeps its index."""
    spec = job["spec"]
    places: list[str | None] = [None]
    if spec.get("completionMode") == "Indexed":
        places = [str(each) for each in range(spec.get("completions", 1))]
    held = [_index(pod) for pod in pods if pod["status"]["phase"] != "Failed" or TRACKED in pod["metadata"].get("finalizers", [])]
    return [each for each in places if each not in held and not _is_done(job, each)]


def _is_done(job: Document, index: str | None) -> bool:
    status = job.get("status", {})
    return index in status.get("completedIndexes", "").split(",") if index else bool(status.get("succeeded"))


def _index(pod: Document) -> str | None:
    index: str | None = pod["metadata"]["labels"].get(INDEX)
    return index


def _make_pod(world: World, job: Document, index: str | None) -> None:
    template, metadata = copy.deepcopy(job["spec"]["template"]), job["metadata"]
    given = template.get("metadata", {})
    labels = {JOB_NAME: metadata["name"], "batch.kubernetes.io/controller-uid": metadata["uid"]}
    made = {
        "name": world.fresh_name(f"{metadata['name']}-{index}" if index else metadata["name"]),
        "namespace": metadata["namespace"],
        "labels": {**given.get("labels", {}), **labels, **({INDEX: index} if index else {})},
        "annotations": dict(given.get("annotations", {})),
        "finalizers": [TRACKED],
        "ownerReferences": [owner_of(job)],
    }
    status = {"phase": "Pending", "conditions": []}
    world.cluster.put({"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": template["spec"], "status": status})


def _next_status(world: World, job: Document, pods: list[Document]) -> Document:
    """Return the status after the next count."""
    old, spec = job.get("status", {}), job["spec"]
    live = [each for each in pods if each["status"]["phase"] not in OVER and not is_going(each)]
    counted = [each for each in pods if each["status"]["phase"] in OVER and TRACKED in each["metadata"].get("finalizers", [])]
    status = {key: value for key, value in old.items() if key not in ("active", "terminating")}
    if pods or old:
        status |= {"startTime": old.get("startTime", timestamp(world.clock())), "terminating": sum(map(is_going, pods))}
    if live:
        status["active"] = len(live)
    for pod in counted:
        if pod["status"]["phase"] == "Succeeded":
            status["succeeded"] = status.get("succeeded", 0) + 1
            if index := _index(pod):
                done = {*status.get("completedIndexes", "").split(","), index} - {""}
                status["completedIndexes"] = ",".join(sorted(done, key=int))
        elif _rule(job, pod) != "Ignore":
            status["failed"] = status.get("failed", 0) + 1
    conditions = _verdict(world, job, [*pods], status, spec)
    if conditions:
        status["conditions"] = with_conditions(job, *conditions)
        if conditions[0]["type"] == "Complete":
            status["completionTime"] = timestamp(world.clock())
    return status


def _verdict(world: World, job: Document, pods: list[Document], status: Document, spec: Document) -> list[Document]:
    """Return the next condition, if there is one."""
    ending = next((each for each in job.get("status", {}).get("conditions", []) if each["status"] == "True"), None)
    if ending is not None:
        final = {"SuccessCriteriaMet": "Complete", "FailureTarget": "Failed"}.get(ending["type"])
        is_over = all(each["status"]["phase"] in OVER for each in pods)
        return [condition(world, final, "True", reason=ending["reason"], message=ending["message"])] if final and is_over else []
    if status.get("succeeded", 0) >= spec.get("completions", 1):
        message = "Reached expected number of succeeded pods"
        return [condition(world, "SuccessCriteriaMet", "True", reason="CompletionsReached", message=message)]
    refused = [pod for pod in pods if pod["status"]["phase"] == "Failed" and _rule(job, pod) == "FailJob"]
    if refused:
        pod = f"{refused[0]['metadata']['namespace']}/{refused[0]['metadata']['name']}"
        message = (
            f"Container {_container(refused[0])} for pod {pod} failed with exit code {_code(refused[0])} matching FailJob rule"
        )
        return [condition(world, "FailureTarget", "True", reason="PodFailurePolicy", message=message)]
    if _is_past(world, status.get("startTime"), spec.get("activeDeadlineSeconds")):
        message = "Job was active longer than specified deadline"
        return [condition(world, "FailureTarget", "True", reason="DeadlineExceeded", message=message)]
    if status.get("failed", 0) > spec.get("backoffLimit", 6):
        message = "Job has reached the specified backoff limit"
        return [condition(world, "FailureTarget", "True", reason="BackoffLimitExceeded", message=message)]
    return []


def _rule(job: Document, pod: Document) -> str:
    """Return the action of the Job's podFailurePolicy for a failed Pod."""
    for rule in job["spec"].get("podFailurePolicy", {}).get("rules", []):
        codes = rule.get("onExitCodes")
        if codes and (_code(pod) in codes["values"]) == (codes["operator"] == "In"):
            return str(rule["action"])
        if any(is_true(pod, each["type"]) for each in rule.get("onPodConditions", [])):
            return str(rule["action"])
    return "Count"


def _count(world: World, job: Document, pods: list[Document], status: Document) -> None:
    for pod in pods:
        if pod["status"]["phase"] in OVER:
            _let_go(world, pod)
    world.cluster.put({**job, "status": status})


def _let_go(world: World, pod: Document) -> None:
    pod["metadata"].pop("finalizers", None)
    world.cluster.put(pod)


def _run(world: World, pod: Document) -> None:
    running = {"state": {"running": {"startedAt": timestamp(world.clock())}}, "name": _container(pod), "ready": True}
    conditions = with_conditions(pod, condition(world, "PodScheduled", "True"), condition(world, "Ready", "True"))
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [running], "podIP": "198.51.100.9"}
    pod["spec"]["nodeName"] = "node"
    _put_status(world, pod, status)


def _finish(world: World, pod: Document) -> None:
    """End a Pod with the training's result; of several Pods, only index 0 reports the version."""
    job = world.cluster.get(JOB, pod["metadata"]["namespace"], pod["metadata"]["labels"][JOB_NAME])
    result = world.outcome(job if job and owned_by(pod, job) else pod)
    if _index(pod) not in (None, "0"):
        result = type(result)(exit_code=result.exit_code, message=result.message)
    reason = "Completed" if result.exit_code == 0 else "Error"
    _end(world, pod, code=result.exit_code, message=result.model_dump_json(exclude_none=True), reason=reason)


def _end(world: World, pod: Document, *, code: int, message: str, reason: str) -> None:
    ended = {"exitCode": code, "reason": reason, "finishedAt": timestamp(world.clock())} | (
        {"message": message} if message else {}
    )
    status = {"name": _container(pod), "ready": False, "state": {"terminated": ended}, "lastState": {}, "restartCount": 0}
    conditions = with_conditions(pod, condition(world, "Ready", "False", reason="PodCompleted" if code == 0 else "PodFailed"))
    phase = "Succeeded" if code == 0 else "Failed"
    _put_status(world, pod, pod["status"] | {"phase": phase, "conditions": conditions, "containerStatuses": [status]})


def _put_status(world: World, pod: Document, status: Document) -> None:
    world.cluster.put({**pod, "status": status})


def _hindrance(world: World, pod: Document) -> Document | None:
    """Return the status of a Pod that cannot run."""
    name, images = _container(pod), [each["image"] for each in pod["spec"]["containers"]]
    if pod["metadata"]["labels"][JOB_NAME] in world.unschedulable:
        message = "0/1 nodes are available: 1 Insufficient memory."
        unfit = condition(world, "PodScheduled", "False", reason="Unschedulable", message=message)
        return {"phase": "Pending", "conditions": with_conditions(pod, unfit)}
    missing = [each for each in images if each in world.missing_images]
    if missing:
        waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{missing[0]}"'}
        scheduled = with_conditions(pod, condition(world, "PodScheduled", "True"))
        return {"phase": "Pending", "conditions": scheduled, "containerStatuses": [{"name": name, "state": {"waiting": waiting}}]}
    return None


def _container(pod: Document) -> str:
    return str(pod["spec"]["containers"][0]["name"])


def _code(pod: Document) -> int | None:
    states = [each["state"].get("terminated", {}) for each in pod["status"].get("containerStatuses", [])]
    return next((each["exitCode"] for each in states if "exitCode" in each), None)


def _ended(job: Document) -> str | None:
    times = [each["lastTransitionTime"] for each in job["status"]["conditions"] if each["type"] in ("Complete", "Failed")]
    return next(iter(times), None)


def _is_past(world: World, began: str | None, seconds: int | None) -> bool:
    if began is None or seconds is None:
        return False
    return world.clock() >= datetime.fromisoformat(began.replace("Z", "+00:00")) + timedelta(seconds=seconds)
