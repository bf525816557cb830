"""Controller in a separate process, with a ServiceAccount whose calls the API server counts by verb."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from controller_api import Api, Document
from prometheus_client.parser import text_string_to_metric_families
from serving_processes import cpu_seconds, resident_megabytes

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
DISPATCHED = "apiserver_flowcontrol_dispatched_requests"
RECONCILE = "labelwright_controller_reconcile_seconds"
QUIET_SECONDS = 6.0  # without a pass
ACCOUNT = "controller"


class CallCounter:
    """Number of the controller's calls to the API server.

    One FlowSchema a verb, of that ServiceAccount only, in the priority level that it would have anyway: the API server's own
    flow control counts what each of them dispatches, so nothing stands between the two.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def install(self, owner: list[Document]) -> None:
        """Start counting."""
        for verb in VERBS:
            rule: Document = {
                "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": ACCOUNT, "namespace": self._namespace}}],
                "resourceRules": [
                    {"verbs": [verb], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
                ],
                "nonResourceRules": [{"verbs": [verb], "nonResourceURLs": ["*"]}],
            }
            spec = {
                "priorityLevelConfiguration": {"name": "workload-low"},
                "matchingPrecedence": 500,
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [rule],
            }
            body = {"metadata": {"name": f"{self._namespace}-{verb}", "ownerReferences": owner}, "spec": spec}
            await self._api.call("POST", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", body)
        await asyncio.sleep(5)  # until the API server applies them

    async def counts(self) -> dict[str, float]:
        """Return the number of calls by verb since the start."""
        counts = dict.fromkeys(VERBS, 0.0)
        prefix = f'flow_schema="{self._namespace}-'
        for line in (await self._api.text("/metrics")).splitlines():
            if line.startswith(DISPATCHED) and prefix in line:
                counts[line.split(prefix)[1].split('"')[0]] += float(line.rsplit(" ", 1)[1])
        return counts


@dataclass(frozen=True)
class Reading:
    """Counters of the controller since its start, and its memory in MB, at one moment."""

    at: float
    calls: Mapping[str, float]
    passes: Mapping[float, float]  # histogram: seconds to the number of passes that took at most that long
    errors: Mapping[str, float]
    cpu: float
    resident: float
    peak: float
    kinds: Mapping[str, float]  # passes by kind of object

    @classmethod
    def of_none(cls, calls: Mapping[str, float]) -> Reading:
        """Return the reading before a start. Calls are counted over all starts."""
        return cls(at=time.monotonic(), calls=calls, passes={}, errors={}, cpu=0.0, resident=0.0, peak=0.0, kinds={})


class ControllerProcess:
    """Process of `python -m k8s.controller` for one namespace. It may be stopped and started again."""

    def __init__(self, api: Api, namespace: str, folder: Path, calls: CallCounter) -> None:
        self._api = api
        self._namespace = namespace
        self._folder = folder
        self._calls = calls
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def admit(self) -> None:
        """Create an account with all rights in the namespace and none outside, and its kubeconfig."""
        places = f"/api/v1/namespaces/{self._namespace}/serviceaccounts"
        await self._api.call("POST", places, {"metadata": {"name": ACCOUNT}})
        subjects = [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self._namespace}]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        binding = {"metadata": {"name": ACCOUNT}, "subjects": subjects, "roleRef": role}
        await self._api.call("POST", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self._namespace}/rolebindings", binding)
        token = await self._api.call("POST", f"{places}/{ACCOUNT}/token", {"spec": {"expirationSeconds": 24 * 3600}})
        cluster = {"server": self._api.url, "certificate-authority": self._api.ca_file}
        named = {"cluster": ACCOUNT, "user": ACCOUNT, "namespace": self._namespace}
        kubeconfig: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": ACCOUNT,
            "clusters": [{"name": ACCOUNT, "cluster": cluster}],
            "users": [{"name": ACCOUNT, "user": {"token": token["status"]["token"]}}],
            "contexts": [{"name": ACCOUNT, "context": named}],
        }
        (self._folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))

    async def start(self) -> None:
        """Start the process, and wait until it responds."""
        with socket.create_server(("", 0)) as free:
            self._port = free.getsockname()[1]
        environment = {**os.environ, "KUBECONFIG": str(self._folder / "kubeconfig")}
        with (self._folder / "controller.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "k8s.controller", "--namespace", self._namespace, "--metrics-port", str(self._port),
                "--trainer-image", "stub/trainer", "--predictor-image", "stub/predictor", env=environment, stderr=log,
            )  # fmt: skip
        while not await self._scraped():
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Stop the process as a kubelet would."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 40)
            except TimeoutError:
                self._process.kill()

    async def read(self) -> Reading:
        """Return the current reading."""
        assert self._process is not None
        pid = self._process.pid
        passes, errors, kinds = _passes(await self._scraped())
        return Reading(
            at=time.monotonic(),
            calls=await self._calls.counts(),
            passes=passes,
            errors=errors,
            cpu=cpu_seconds(pid),
            resident=resident_megabytes(pid),
            peak=_peak_megabytes(pid),
            kinds=kinds,
        )

    async def until_quiet(self, limit: float = 600) -> float:
        """Wait until no pass has started for QUIET_SECONDS; return the time at which the last one had ended."""
        end, last, seen = time.monotonic() + limit, time.monotonic(), -1.0
        while time.monotonic() < min(end, last + QUIET_SECONDS):
            passes, _, _ = _passes(await self._scraped())
            if (number := max(passes.values(), default=0)) != seen:
                last, seen = time.monotonic(), number
            await asyncio.sleep(0.5)
        if time.monotonic() >= end:
            raise TimeoutError(f"the controller was busy for {limit:g} s")
        return last

    async def _scraped(self) -> str:
        """Return its /metrics; an empty string if it does not respond yet."""
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError(f"the controller has ended:\n{(self._folder / 'controller.log').read_text()[-2000:]}")
        try:
            reader, writer = await asyncio.open_connection("localhost", self._port)
        except OSError:
            return ""
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        response = await reader.read()
        writer.close()
        return response.decode().partition("\r\n\r\n")[2]


def _passes(scraped: str) -> tuple[dict[float, float], dict[str, float], dict[str, float]]:
    passes: dict[float, float] = {}
    errors: dict[str, float] = {}
    kinds: dict[str, float] = {}
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            if sample.name == f"{RECONCILE}_bucket":
                bound = float(sample.labels["le"])
                passes[bound] = passes.get(bound, 0) + sample.value
            elif sample.name == f"{RECONCILE}_count":
                kinds[sample.labels["kind"]] = sample.value
            elif sample.name == "labelwright_controller_reconcile_errors_total":
                errors[sample.labels["reason"]] = errors.get(sample.labels["reason"], 0) + sample.value
    return passes, errors, kinds


def _peak_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(each.split()[1]) * 1024 / 1e6 for each in lines if each.startswith("VmHWM:")), 0.0)
