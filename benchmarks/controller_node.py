"""Node without a machine: it reports that its Pods start, train, serve and end, but they run nowhere.

It has the Pods of one namespace. A webhook in this process assigns them to the node when they are created, so the scheduler is
not involved. If this process is gone, Pods of the namespace are refused, so none ever runs on a real node. The API server has to
reach this machine at the address from which this machine reaches the API server.

Every Pod that serves has this machine's address. The server there responds for each model with the version of its newest Pod.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from controller_api import MERGE, Api, ApiError, Document

from model.gate import GateRecord, GateRule
from model.run_result import RunResult
from model.scores import ScoreName

START_SECONDS, TRAINING_SECONDS = 1.0, 2.0  # of a Pod
HEARTBEAT_SECONDS = 5.0
PORT = 8080  # of every predictor
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"
TAINT = {"key": "labelwright.dev/benchmark", "effect": "NoSchedule"}  # no other Pods


class StubNode:
    """Node of one namespace. `running` creates it and all that it needs; everything is deleted with the namespace."""

    def __init__(self, api: Api, namespace: Document, address: str) -> None:
        self._api = api
        self._address = address
        self.namespace: str = namespace["metadata"]["name"]
        self.owner = [{"apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": namespace["metadata"]["uid"]}]
        self._metadata = {"name": self.namespace, "ownerReferences": self.owner}
        self._versions: dict[str, str] = {}
        self._known: set[str] = set()
        self._lives: set[asyncio.Task[None]] = set()
        self.pods = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, api: Api, namespace: Document, folder: Path) -> AsyncIterator[Self]:
        """Create the node and keep it alive in the block. folder: for its certificate."""
        node = cls(api, namespace, _own_address(api))
        servers = await node._serve(await _certificate(node._address, folder))
        await node._register()
        tasks = [asyncio.create_task(each) for each in (node._beat(), node._watch())]
        try:
            yield node
        finally:
            for task in (*tasks, *node._lives):
                task.cancel()
            for server in servers:
                await server.cleanup()

    async def _serve(self, certificate: tuple[Path, Path]) -> list[web.AppRunner]:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        placing, predictor = web.Application(), web.Application()
        placing.router.add_post("/", self._place)
        predictor.router.add_get("/v2/models/{name}", self._answer)
        runners = [web.AppRunner(each, access_log=None) for each in (placing, predictor)]
        for runner in runners:
            await runner.setup()
        webhook = web.TCPSite(runners[0], self._address, 0, ssl_context=tls)
        await webhook.start()
        await web.TCPSite(runners[1], self._address, PORT).start()
        await self._intercept(runners[0].addresses[0][1], certificate[0].read_bytes())
        return runners

    async def _intercept(self, port: int, ca: bytes) -> None:
        """Register the webhook for every new Pod of this namespace."""
        hook = {
            "name": "place.labelwright.dev",
            "clientConfig": {"url": f"https://{self._address}:{port}/", "caBundle": base64.b64encode(ca).decode()},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        body = {"metadata": self._metadata, "webhooks": [hook]}
        await self._api.call("POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", body)

    async def _register(self) -> None:
        resources = {"cpu": "1000", "memory": "1Ti", "pods": "10000"}
        ready = {"type": "Ready", "status": "True", "reason": "Stub", "message": "says so", **_times()}
        status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
        await self._api.call("POST", "/api/v1/nodes", {"metadata": self._metadata, "spec": {"taints": [TAINT]}, "status": status})
        lease = {"metadata": self._metadata, "spec": {"holderIdentity": self.namespace, "leaseDurationSeconds": 40}}
        await self._api.call("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)

    async def _beat(self) -> None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{self.namespace}"
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the next heartbeat may arrive
                await self._api.call("PATCH", path, {"spec": {"renewTime": now}}, content=MERGE)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _place(self, request: web.Request) -> web.Response:
        review = await request.json()
        patch = json.dumps([{"op": "add", "path": "/spec/nodeName", "value": self.namespace}]).encode()
        verdict = {"uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch"}
        verdict["patch"] = base64.b64encode(patch).decode()
        return web.json_response({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": verdict})

    async def _answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._versions:
            return web.json_response({"error": f"no model {name}"}, status=404)
        return web.json_response({"name": name, "versions": [self._versions[name]]})

    async def _watch(self) -> None:
        async for event in self._api.watch(f"/api/v1/namespaces/{self.namespace}/pods"):
            pod = event["object"]
            if event["type"] in ("ADDED", "MODIFIED"):
                task = asyncio.create_task(self._look(pod))
                self._lives.add(task)
                task.add_done_callback(self._lives.discard)

    async def _look(self, pod: Document) -> None:
        metadata, is_new = pod["metadata"], pod["metadata"]["uid"] not in self._known
        self._known.add(metadata["uid"])
        try:
            if "deletionTimestamp" in metadata:
                await self._api.call("DELETE", self._path(pod), {"gracePeriodSeconds": 0})
            elif is_new:
                self.pods += 1
                await asyncio.sleep(START_SECONDS)
                serves = "serving.kserve.io/inferenceservice" in metadata["labels"]
                await (self._serves(pod) if serves else self._works(pod))
        except ApiError as error:
            if error.status not in (404, 409):  # deleted meanwhile
                raise

    async def _serves(self, pod: Document) -> None:
        name = pod["metadata"]["labels"]["serving.kserve.io/inferenceservice"]
        self._versions[name] = pod["metadata"]["annotations"][SOURCE].rstrip("/").rpartition("/")[2]
        await self._say(pod, "Running", {"running": {"startedAt": _now()}}, ready=True)

    async def _works(self, pod: Document) -> None:
        await self._say(pod, "Running", {"running": {"startedAt": _now()}})
        await asyncio.sleep(TRAINING_SECONDS)
        message = _result(pod).model_dump_json(exclude_none=True)
        ended = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": _now(), "finishedAt": _now()}
        await self._say(pod, "Succeeded", {"terminated": ended})

    async def _say(self, pod: Document, phase: str, state: Document, *, ready: bool = False) -> None:
        container = pod["spec"]["containers"][0]
        status = {
            "phase": phase,
            "podIP": self._address,
            "podIPs": [{"ip": self._address}],
            "startTime": pod["metadata"]["creationTimestamp"],
            "conditions": [
                {"type": each, "status": "True" if ready else "False", **_times()} for each in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "restartCount": 0,
                    "ready": ready,
                    "state": state,
                }
            ],
        }
        await self._api.call("PATCH", f"{self._path(pod)}/status", {"status": status}, content=MERGE)

    def _path(self, pod: Document) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}"


def _result(pod: Document) -> RunResult:
    """Return the result that the trainer would write, of a training or of a dataset check."""
    container = pod["spec"]["containers"][0]
    if container["args"] == ["fingerprint"]:
        return RunResult(exit_code=0, dataset_sha256="0" * 64)
    settings: dict[str, Any] = {each["name"]: json.loads(each["value"]) for each in container["env"] if _is_asked(each)}
    name, version = settings["LABELWRIGHT__NAME"], settings["LABELWRIGHT__VERSION"]
    return RunResult(
        exit_code=0,
        classifier=name,
        version=version,
        artifact_uri=f"{settings['LABELWRIGHT__OUTPUT_DIR'].rstrip('/')}/{name}/{version}/",
        dataset_sha256="0" * 64,
        gate=GateRecord(
            scores=dict.fromkeys(ScoreName, 0.9), baseline_scores=dict.fromkeys(ScoreName, 0.8), rule=GateRule(), passed=True
        ),
        seconds=TRAINING_SECONDS,
    )


def _is_asked(variable: Document) -> bool:
    return variable["name"] in ("LABELWRIGHT__NAME", "LABELWRIGHT__VERSION", "LABELWRIGHT__OUTPUT_DIR")


def _own_address(api: Api) -> str:
    """Return the address from which this machine reaches the API server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(api.address)
        address: str = way.getsockname()[0]
        return address


async def _certificate(address: str, folder: Path) -> tuple[Path, Path]:
    """Return a certificate for this address, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = await asyncio.create_subprocess_exec(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={address}",
        "-addext", f"subjectAltName=IP:{address}", "-out", str(certificate), "-keyout", str(key),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await made.wait():
        raise RuntimeError("openssl made no certificate")
    return certificate, key


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _times() -> dict[str, str]:
    return {"lastTransitionTime": _now()}
