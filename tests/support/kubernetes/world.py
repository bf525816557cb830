"""Other components of a cluster around a FakeCluster: job controller, kubelet, KServe; failures of Pods; users of kubectl.

    world = World(cluster, clock=clock, random=random, outcome=lambda job: RunResult(…))
    world.possible() -> list[Action]     next actions of its components, one change each
    world.mishaps() -> list[Action]      failures: a Pod is lost, killed or evicted; a node's response is lost
    world.by_hand() -> list[Action]      a person deletes a Job, a TrainingRun, an InferenceService, a ServingRuntime …
    world.step() -> str | None           does one of the possible actions, by `random`; its label, None if there was none
    world.settle() -> int                steps until nothing is left to do, without letting time pass
    world.answer(pod) -> str | None      the version that this Pod says it serves
    world.version(pod, classifier)       the same, as k8s.controller.clients.probe.Probe

    world.outcome            result of a training Pod, called at its end: (Job) -> RunResult
    world.broken_versions    storageUris whose Pods never become ready
    world.missing_images     images that no node can pull
    world.unschedulable      names of Jobs whose Pods fit nowhere
    world.mute               names of serving Pods that do not answer when asked

A test chooses an Action: `data.draw(st.sampled_from(world.possible())).do()`. Shapes and orders are those that
Kubernetes 1.34 and KServe 0.17 showed; 0.20 shows the same.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from k8s.controller.clients.kubernetes import (
    DEPLOYMENT,
    INFERENCE_SERVICE,
    JOB,
    POD,
    SERVICE_ACCOUNT,
    SERVING_RUNTIME,
    TRAINING_RUN,
    Document,
    Kind,
)
from tests.support.fakes import FakeClock, FakeCluster
from tests.support.kubernetes import world_jobs, world_serving
from tests.support.kubernetes.world_parts import Action, condition, is_true

if TYPE_CHECKING:
    from model.run_result import RunResult

DELETED_BY_HAND = (JOB, TRAINING_RUN, INFERENCE_SERVICE, SERVING_RUNTIME, SERVICE_ACCOUNT, DEPLOYMENT)


class World:
    """All components of a cluster but our controller."""

    def __init__(
        self, cluster: FakeCluster, *, clock: FakeClock, random: Random, outcome: Callable[[Document], RunResult]
    ) -> None:
        self.cluster, self.clock, self.random, self.outcome = cluster, clock, random, outcome
        self.broken_versions: set[str] = set()
        self.missing_images: set[str] = set()
        self.unschedulable: set[str] = set()
        self.mute: set[str] = set()
        self._made = 0

    def possible(self) -> list[Action]:
        """Return the next actions of the components, in any order."""
        return [*world_jobs.possible(self), *world_serving.possible(self), *self._collected()]

    def mishaps(self) -> list[Action]:
        """Return possible failures of Pods."""
        return [action for pod in self.all(POD) for action in self._mishaps_of(pod)]

    def by_hand(self) -> list[Action]:
        """Return deletions that a user may make with kubectl."""
        return [self._deletion(each, kind) for kind in DELETED_BY_HAND for each in self.all(kind)]

    def step(self) -> str | None:
        """Do one of the possible actions, and return its label."""
        possible = self.possible()
        if not possible:
            return None
        chosen = self.random.choice(possible)
        chosen.do()
        return chosen.label

    def settle(self, *, limit: int = 2000) -> int:
        """Make steps until nothing is left to do. Fails beyond the limit: then two actions undo each other."""
        for number in range(limit):
            if self.step() is None:
                return number
        raise AssertionError(f"the world does not come to rest: {[each.label for each in self.possible()]}")

    def answer(self, pod: Document) -> str | None:
        """Return the version that the Pod reports. A Pod that is being deleted responds too."""
        now = self.cluster.get(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        if now is None or now["metadata"]["name"] in self.mute or not is_true(now, "Ready"):
            return None
        return str(now["metadata"]["annotations"][world_serving.SOURCE]).rstrip("/").rsplit("/", 1)[-1]

    def version(self, pod: Document, classifier: str) -> str | None:
        """Return the version that the Pod reports for this classifier, as a Probe does."""
        return self.answer(pod) if pod["metadata"]["labels"].get(world_serving.SERVED_BY) == classifier else None

    # Shared by the components.

    def all(self, kind: Kind) -> list[Document]:
        """Return the objects of a kind in all namespaces."""
        return self.cluster.list(kind, "", labels={})

    def fresh_name(self, beginning: str) -> str:
        """Return a new name."""
        self._made += 1
        return f"{beginning}-{self._made:05x}"

    def _collected(self) -> list[Action]:
        """Return the garbage collector's action, unless the cluster collects by itself."""
        if self.cluster.collects:
            return []
        everything = self.cluster.everything()
        there = {each["metadata"]["uid"] for each in everything}
        owners = [each["metadata"].get("ownerReferences") for each in everything]
        orphans = [each for each in owners if each and not any(owner["uid"] in there for owner in each)]
        return [Action("garbage collector", self.cluster.collect)] if orphans else []

    def _mishaps_of(self, pod: Document) -> list[Action]:
        metadata = pod["metadata"]
        address = (POD, metadata["namespace"], metadata["name"])
        actions = [Action(f"pod {metadata['name']} is lost with its node", lambda: self.cluster.remove(*address))]
        if "deletionTimestamp" not in metadata:
            actions.append(Action(f"pod {metadata['name']} is deleted", lambda: self.cluster.delete(*address)))
            if pod["status"]["phase"] in ("Pending", "Running"):
                actions.append(Action(f"pod {metadata['name']} is evicted", lambda: self._evict(address)))
        if pod["status"]["phase"] == "Running" and world_jobs.JOB_NAME in metadata["labels"]:
            actions.append(Action(f"pod {metadata['name']} is killed", lambda: world_jobs.kill(self, pod)))
        return actions

    def _evict(self, address: tuple[Kind, str, str]) -> None:
        """Evict a Pod as a drain does: mark it, so that its Job does not count a failure, then delete it."""
        pod = self.cluster.get(*address)
        if pod is not None:
            mark = condition(self, "DisruptionTarget", "True", reason="EvictionByEvictionAPI")
            pod["status"]["conditions"] = [*pod["status"].get("conditions", []), mark]
            self.cluster.put(pod)
            self.cluster.delete(*address)

    def _deletion(self, document: Document, kind: Kind) -> Action:
        metadata = document["metadata"]
        label = f"someone deletes {kind.kind} {metadata['name']}"
        return Action(label, lambda: self.cluster.delete(kind, metadata["namespace"], metadata["name"]))
