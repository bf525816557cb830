"""Invariants of a Simulation: at every moment, and once nothing is left to do."""

from __future__ import annotations

from collections.abc import Sequence

from k8s.controller.objects import names
from k8s.controller.objects.documents import ended
from k8s.controller.objects.kinds import EVENT, INFERENCE_SERVICE, JOB, POD, TEXT_CLASSIFIER, TRAINING_RUN, Document
from tests.support.fakes import Counting
from tests.support.kubernetes.simulation import NAME, SPACE, Simulation

READS = {"get", "list", "apply"}  # an apply that is repeated changes nothing
FINAL = {"Published", "Rejected", "Failed", "Superseded"}
RESULT = ("version", "artifactUri", "result", "datasetSha256")


class Invariants:
    """Checks during a simulation, from its beginning."""

    def __init__(self, simulation: Simulation, *, one_job: bool = True) -> None:
        self.one_job = one_job
        self.simulation = simulation
        self.results: dict[str, Document] = {}  # by uid of the run
        self.uri: str | None = None
        simulation.listeners.append(self._hear)

    def _hear(self, event: str, document: Document) -> None:
        if document["kind"] == TRAINING_RUN.kind:
            self._results_stay(document)
        elif document["kind"] == JOB.kind and event == "ADDED" and self.one_job:
            self._one_job_at_a_time()
        elif document["kind"] == INFERENCE_SERVICE.kind:
            self._good_versions_are_served(document)

    def _results_stay(self, run: Document) -> None:
        status, uid = run.get("status", {}), run["metadata"]["uid"]
        before = self.results.get(uid, {})
        if before:
            assert {name: before.get(name) for name in RESULT} == {name: status.get(name) for name in RESULT}
            assert status["state"] == before["state"] or {before["state"], status["state"]} == {"Rejected", "Published"}
        if status.get("state") in FINAL:
            self.results[uid] = status

    def _one_job_at_a_time(self) -> None:
        own = {run["metadata"]["uid"] for run in self.simulation.runs()}
        jobs = [job for job in self.simulation.all(JOB) if job["metadata"]["ownerReferences"][0]["uid"] in own]
        active = [job["metadata"]["name"] for job in jobs if ended(job) is None]
        assert len(active) <= 1, active

    def _good_versions_are_served(self, service: Document) -> None:
        """Check that no version is rolled out that failed its gate, unless it is pinned."""
        uri = service["spec"]["predictor"]["model"]["storageUri"]
        changed, self.uri = uri != self.uri, uri
        classifier = self.simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME)
        if not changed or classifier is None:
            return
        version = uri.rstrip("/").rsplit("/", 1)[-1]
        run = self.simulation.cluster.get(TRAINING_RUN, SPACE, version)
        passed = (run or {}).get("status", {}).get("passed", True)
        was_served = classifier.get("status", {}).get("served", {}).get("uri") == uri
        assert passed or was_served or classifier["spec"]["serving"].get("version") == version, f"{version} did not pass"


def at_rest(simulation: Simulation) -> None:
    """Check that nothing more is written, and that the state is the one of the spec."""
    nothing_is_written(simulation)
    classifier = simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME)
    if classifier is None:
        nothing_is_left(simulation)
        return
    status = classifier["status"]
    assert status["observedGeneration"] == classifier["metadata"]["generation"]
    runs = simulation.runs()
    if not classifier["spec"]["suspend"] and not rejected(status):
        assert all(run.get("status", {}).get("state") in FINAL for run in runs)
        _the_newest_is_what_is_asked_for(classifier, runs)
    _what_is_wanted_is_served(simulation, classifier, runs)


def nothing_is_written(simulation: Simulation) -> None:
    """Check that another pass over every object writes nothing."""
    counting: list[Counting] = []

    def counted(cluster: object) -> Counting:
        counting.append(Counting(cluster))  # type: ignore[arg-type]
        return counting[0]

    cache = simulation.apply_cache
    simulation.restart(counted)
    simulation.reconciler = type(simulation.reconciler)(**{**simulation.reconciler.__dict__, "apply_cache": cache})
    before = simulation.cluster.everything()
    for key in simulation.every_key():
        simulation.work_on(key)
    written = {call: number for call, number in counting[0].calls.items() if call[0] not in READS}
    changed = _difference(before, simulation.cluster.everything())
    assert not changed
    assert not written


def _difference(before: Sequence[Document], after: Sequence[Document]) -> list[Document]:
    return [each for each in after if each not in before]


def nothing_is_left(simulation: Simulation) -> None:
    """Check that a deleted classifier left no object. Runs made by hand stay, although they have its name."""
    own = {
        run["metadata"]["name"]
        for run in simulation.all(TRAINING_RUN)
        if names.CLASSIFIER not in run["metadata"].get("labels", {})
    }
    left = [
        f"{each['kind']} {each['metadata']['name']}"
        for each in simulation.cluster.everything()
        if each["kind"] not in (EVENT.kind, POD.kind)
        and each["metadata"].get("labels", {}).get(names.CLASSIFIER) == NAME
        and each["metadata"]["name"] not in own
    ]
    assert not left, left


def rejected(status: Document) -> bool:
    """Return whether the spec is invalid."""
    return bool(status.get("state") == "Invalid")


def _was_superseded(run: Document) -> bool:
    """Return whether a run was superseded before it ended."""
    return names.SUPERSEDED in run["metadata"]["annotations"] and bool(run["status"]["state"] == "Superseded")


def _the_newest_is_what_is_asked_for(classifier: Document, runs: list[Document]) -> None:
    """Check that the newest run has the spec's settings, whether it succeeded or not; superseded runs do not count."""
    newest = [run for run in runs if not _was_superseded(run)][-1]
    spec, asked = newest["spec"], classifier["spec"]
    assert spec["dataset"] == asked["dataset"]
    assert spec["training"]["seed"] == asked["training"]["seed"]
    assert spec["storage"]["uri"] == asked["storage"]["uri"]
    by_hand = (spec.get("trigger") or {}).get("reason") == "Manual"
    if newest["status"]["state"] in ("Published", "Rejected") and not by_hand:
        assert spec["gate"] == asked["gate"], "it would be judged otherwise now"


def _what_is_wanted_is_served(simulation: Simulation, classifier: Document, runs: list[Document]) -> None:
    status = classifier["status"]
    passed = [run for run in runs if run["status"].get("passed") and not run["status"].get("deleted")]
    pinned = classifier["spec"]["serving"].get("version")
    held = status["version"] if classifier["spec"]["suspend"] and "version" in status else None
    wanted = pinned or held or (passed[-1]["metadata"]["name"] if passed else None)
    service = simulation.cluster.get(INFERENCE_SERVICE, SPACE, NAME)
    if wanted is None or rejected(status):
        return
    assert service is not None
    uri = service["spec"]["predictor"]["model"]["storageUri"].rstrip("/")
    failed = {each["version"] for each in status.get("failedRollouts", [])}
    assert uri.endswith(f"/{wanted}") or wanted in failed, (uri, wanted, failed)
    broken, known = simulation.world.broken_versions, status.get("served", {}).get("uri", f"{uri}/")
    assert f"{uri}/" not in broken or known in broken, f"{known} is known to work"
    if uri.endswith(f"/{wanted}") and f"{uri}/" not in broken:
        assert status["version"] == wanted
        assert "rollout" not in status
