"""Triggers of trainings besides a change of the spec, and classifiers while something that they need is unavailable.

All classifiers begin at once, since most of the time is spent on waiting; each test looks at one of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.controller.clients.prometheus import MIN_WINDOW_TEXTS
from k8s.controller.objects.documents import format_time, parse_time
from model.storage import ObjectStore, open_store
from tests.support.cluster.controlled import (
    CLASSIFIER,
    SECRET,
    TIMEOUT_SECONDS,
    ControllerRelease,
    ManagedClassifier,
    put_texts,
    spec,
)
from tests.support.cluster.namespace import Document, Namespace, wait_until
from tests.support.cluster.training import Job, put_encoder

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
CATS = "some old whiskers and a very big purr"
INDEX = 0.25  # of drift, that starts a training
CORRECTIONS = 20
TOLD = {("Degraded", "True"), ("Progressing", "True")}  # conditions that tell of what hinders a classifier
MINUTELY = "* * * * *"
LATE = 10.0  # seconds that a run may be made after its minute, on a machine that does other things, too
OWN = "kept-storage"  # the Secret, and the Service it leads to, of one classifier alone
QUOTA = {"limits.memory": "300Gi"}
BEYOND = "400Gi"  # more than that
SMALL = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}  # so that all have room on one node


@dataclass
class Life:
    """Results of earlier tests."""

    first: dict[str, str] = field(default_factory=dict)  # the first version that was served, by classifier
    scheduled: datetime = datetime.min  # when the schedule was set
    due: datetime = datetime.min  # the scheduled time, as it was reported then
    second: str = ""
    forbidden: str = ""  # the run that a quota forbade a Pod


@pytest.fixture(scope="module")
def bucket(versions: ObjectStore) -> ObjectStore:
    return open_store("s3://models/")


@pytest.fixture(scope="module")
def prometheus(namespace: Namespace, controller_image: str) -> Iterator[Namespace]:
    """Run a Prometheus that scrapes its namespace. There are no corrections yet."""
    text = (HERE / "prometheus.yaml").read_text().replace("NAMESPACE", namespace.name).replace("CONTROLLER", controller_image)
    namespace.apply(list(yaml.safe_load_all(text)))
    namespace.kubectl("wait", "--for=condition=Ready", "pod/prometheus", "pod/corrections", "--timeout=90s")
    count_corrections(namespace, 0)
    yield namespace
    namespace.kubectl("delete", "-f", "-", "--wait=false", given=text)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Namespace]:
    """Another namespace than the controller's, as restricted."""
    found = Namespace(f"labelwright-{uuid.uuid4().hex[:8]}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    found.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.name, "labels": labels}}])
    yield found
    found.kubectl("delete", "namespace", found.name, "--wait=false")


@pytest.fixture(scope="module")
def measuring(
    controller: ControllerRelease, namespace: Namespace, elsewhere: Namespace, prometheus: Namespace
) -> Iterator[ControllerRelease]:
    """The controller, which asks that Prometheus, and looks after both namespaces."""
    both = [namespace.name, elsewhere.name]
    told = {"prometheus.url": "http://prometheus:9090", "prometheus.gatewayJob": "corrections"}
    controller.upgrade({**told, "controller.watch.namespaces": both})
    yield controller
    controller.upgrade({"prometheus.url": "", "controller.watch.namespaces": []})


@pytest.fixture(scope="module")
def own_storage(namespace: Namespace, elsewhere: Namespace, controller: ControllerRelease) -> Document:
    """A Secret that leads to the same S3 by a Service of its own: both can be taken away from one classifier."""
    data = (namespace.get("secret", SECRET) or {})["data"]
    leads = {"selector": {"app": "minio"}, "ports": [{"name": "s3", "port": 9000}]}
    own = secret(OWN, data, endpoint=f"http://{OWN}:9000")
    namespace.apply([own, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": OWN}, "spec": leads}])
    elsewhere.apply([secret(SECRET, data, endpoint=f"http://minio.{namespace.name}:9000")])
    return own


def secret(name: str, data: Document, *, endpoint: str) -> Document:
    """Return a Secret with the same keys, for another address of S3."""
    told = {"stringData": {"AWS_ENDPOINT_URL": endpoint}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data, **told}


@pytest.fixture(scope="module")
def classifiers(
    namespace: Namespace,
    elsewhere: Namespace,
    measuring: ControllerRelease,
    own_storage: Document,
    bucket: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Mapping[str, ManagedClassifier]]:
    """All that are looked at here, by name, just applied."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "memory"}, "spec": {"hard": QUOTA}}
    specs = wanted(bucket, put_encoder(bucket, tmp_path_factory.mktemp("encoder") / "bert"))
    found = {name: ManagedClassifier(elsewhere if name == "far" else namespace, name) for name in specs}
    namespace.apply([quota])
    for name, each in found.items():
        each.apply(specs[name])
    yield found
    for each in found.values():
        each.delete()
    namespace.kubectl("delete", "resourcequota", "memory", "--ignore-not-found")


def wanted(bucket: ObjectStore, encoder: str) -> dict[str, Document]:
    """The spec of each."""
    own = put_texts(bucket, "drifting.parquet")
    usual = spec(put_texts(bucket, "triggers.parquet"), serving={"resources": SMALL})
    linear, resources = usual["training"], usual["training"]["resources"]
    on_two = {"architecture": "transformer", "baseModel": encoder, "nodes": 2, "epochs": 1, "batchSize": 64, "maxLength": 32}
    return {
        "drifting": usual | {"dataset": usual["dataset"] | {"uri": own}, "triggers": {"drift": {"index": INDEX}}},
        "corrected": usual | {"triggers": {"feedback": {"corrections": CORRECTIONS}}},
        "scheduled": usual,
        "far": usual,
        "kept": usual | {"storage": usual["storage"] | {"secretName": OWN}},
        "greedy": usual | {"training": linear | {"resources": resources | {"limits": {"memory": BEYOND}}}},
        "several": usual | {"training": linear | on_two, "gate": {"minimum": 0.1}},
    }


@pytest.fixture(scope="module")
def life() -> Life:
    return Life()


@pytest.fixture(scope="module")
def occasions(classifiers: Mapping[str, ManagedClassifier], bucket: ObjectStore, life: Life) -> None:
    """Once the first versions are served, texts of another kind come, people correct, and a schedule is set.

    What drifts would now be trained on texts that teach nothing, so that no other version takes its place.
    """
    for name in ("drifting", "corrected", "scheduled"):
        life.first[name] = classifiers[name].wait_for_another(None)
    put_texts(bucket, "drifting.parquet", wrong=1.0)
    ask(classifiers["drifting"], ["purr " * 40] * (5 * MIN_WINDOW_TEXTS))
    corrected, scheduled = classifiers["corrected"], classifiers["scheduled"]
    corrected.wait_for(lambda now: now.get("corrections") == 0, "corrections are counted")
    count_corrections(corrected.namespace, CORRECTIONS + 5)
    life.scheduled = datetime.now(UTC)
    scheduled.patch(triggers={"schedule": MINUTELY})
    life.due = next_schedule(scheduled, after=life.scheduled)


def ask(classifier: ManagedClassifier, texts: list[str]) -> None:
    """All in one request, of one Pod."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    with classifier.served.asked() as (http, _):
        http.post(f"/v2/models/{classifier.name}/infer", json={"inputs": [tensor]}, timeout=60).raise_for_status()


def count_corrections(namespace: Namespace, times: int) -> None:
    """Set the number of corrections since the start, for the classifier that waits for them."""
    series = f'labelwright_feedback_corrections_total{{namespace="{namespace.name}",classifier="corrected"}} {times}\n'
    namespace.kubectl("exec", "-i", "corrections", "--", "tee", "/told/metrics.txt", given=series)


def lead_to(namespace: Namespace, app: str) -> None:
    """From now on the classifier's S3 is what runs in those Pods."""
    namespace.kubectl("patch", "service", OWN, "--patch", f'{{"spec": {{"selector": {{"app": "{app}"}}}}}}')


def next_schedule(classifier: ManagedClassifier, *, after: datetime) -> datetime:
    """Once it says that the schedule comes at a time later than that."""

    def told(now: Document) -> datetime | None:
        time = parse_time(now["nextSchedule"]) if "nextSchedule" in now else after
        return time if time > after else None

    found: datetime = classifier.wait_for(told, f"the schedule comes after {after}")
    return found


def trigger_of(run: Document) -> dict[str, Any]:
    return dict(run["spec"]["trigger"])


def wait_for_run_because(classifier: ManagedClassifier, reason: str) -> Document:
    """The run that was made for that reason."""

    def made() -> list[Document]:
        return [each for each in classifier.runs() if trigger_of(each)["reason"] == reason]

    return dict(wait_until(made, f"a run because of {reason};", seconds=TIMEOUT_SECONDS, instead=classifier.describe)[0])


def wait_until_told(classifier: ManagedClassifier, *words: str) -> str:
    """Until one condition that tells of a hindrance says all of these; its message."""

    def told(now: Document) -> str | None:
        said = [each["message"] for each in (now.get("conditions") or ()) if (each["type"], each["status"]) in TOLD]
        return next((each for each in said if all(word in each for word in words)), None)

    return str(classifier.wait_for(told, f"a condition says {' and '.join(words)}"))


def names(runs: list[Document]) -> list[str]:
    return [each["metadata"]["name"] for each in runs]


def test_a_schedule_tells_when_it_comes_next(occasions: None, life: Life) -> None:
    assert 0 < (life.due - life.scheduled).total_seconds() < 60 + LATE


def test_a_quota_that_forbids_the_pod_of_a_training_is_reported(classifiers: Mapping[str, ManagedClassifier], life: Life) -> None:
    greedy = classifiers["greedy"]

    wait_until_told(greedy, "no Pod was created", "quota")
    assert greedy.status()["state"] == "Stuck"
    (life.forbidden,) = names(greedy.runs())
    greedy.namespace.kubectl("delete", "resourcequota", "memory")  # the Job tries again within a minute: see below


def test_what_is_served_answers_while_its_secret_is_gone_and_the_next_training_names_it(
    classifiers: Mapping[str, ManagedClassifier], life: Life
) -> None:
    kept = classifiers["kept"]
    life.first["kept"] = kept.wait_for_another(None)
    kept.namespace.kubectl("delete", "secret", OWN)
    kept.patch(training={"seed": 1})

    wait_until_told(kept, "spec.storage.secretName", OWN)
    assert kept.answer(CATS) == (["cats"], life.first["kept"])
    assert kept.condition("Ready")["status"] == "True"


def test_the_training_that_waited_goes_on_once_the_secret_is_back(
    classifiers: Mapping[str, ManagedClassifier], own_storage: Document, life: Life
) -> None:
    kept = classifiers["kept"]
    kept.namespace.apply([own_storage])
    life.second = kept.wait_for_another(life.first["kept"])

    assert names(kept.runs()) == [life.first["kept"], life.second]
    assert kept.condition("Degraded")["status"] == "False"
    assert kept.answer(CATS) == (["cats"], life.second)


def test_a_schedule_starts_a_training_in_its_minute_and_the_next_time_is_reported(
    classifiers: Mapping[str, ManagedClassifier], occasions: None, life: Life
) -> None:
    scheduled = classifiers["scheduled"]
    run = wait_for_run_because(scheduled, "Schedule")
    next_schedule(scheduled, after=life.due)
    scheduled.patch(triggers=None)

    made = parse_time(run["metadata"]["creationTimestamp"])
    assert trigger_of(run)["message"] == f"scheduled for {format_time(life.due)}"
    assert 0 <= (made - life.due).total_seconds() < LATE
    assert names(scheduled.runs())[:2] == [life.first["scheduled"], run["metadata"]["name"]]


def test_the_previous_version_answers_while_a_rollout_cannot_reach_s3_and_the_status_reports_it(
    classifiers: Mapping[str, ManagedClassifier], life: Life
) -> None:
    kept = classifiers["kept"]
    lead_to(kept.namespace, "nothing")
    kept.patch(serving={"version": life.first["kept"]})

    wait_until_told(kept, f"http://{OWN}:9000")
    assert kept.status()["rollout"]["version"] == life.first["kept"]
    assert kept.answer(CATS) == (["cats"], life.second)


def test_the_rollout_is_completed_once_s3_is_back(classifiers: Mapping[str, ManagedClassifier], life: Life) -> None:
    kept = classifiers["kept"]
    lead_to(kept.namespace, "minio")
    kept.wait_until_served(life.first["kept"])

    assert kept.condition("Degraded")["status"] == "False"
    assert not kept.status().get("failedRollouts")
    assert kept.answer(CATS) == (["cats"], life.first["kept"])


def test_drift_starts_a_training(classifiers: Mapping[str, ManagedClassifier], occasions: None, life: Life) -> None:
    drifting = classifiers["drifting"]
    run = wait_for_run_because(drifting, "Drift")

    assert names(drifting.runs()) == [life.first["drifting"], run["metadata"]["name"]]
    assert f"of {life.first['drifting']} is " in trigger_of(run)["message"]
    assert drifting.status()["driftIndex"] > INDEX


def test_drift_of_the_same_version_starts_no_other(
    classifiers: Mapping[str, ManagedClassifier], occasions: None, life: Life
) -> None:
    drifting = classifiers["drifting"]
    drifting.wait_for_run("Rejected", other_than=life.first["drifting"])
    drifting.patch(history={"runs": 9})  # that it is looked at again
    generation = (drifting.namespace.get(CLASSIFIER, drifting.name) or {})["metadata"]["generation"]
    seen = drifting.wait_for(lambda now: now.get("observedGeneration") == generation and now, "it was looked at again")

    assert seen["version"] == life.first["drifting"]
    assert seen["driftIndex"] > INDEX
    assert not seen.get("activeRun")
    assert len(drifting.runs()) == 2


def test_corrections_start_one_training(classifiers: Mapping[str, ManagedClassifier], occasions: None, life: Life) -> None:
    corrected = classifiers["corrected"]
    run = wait_for_run_because(corrected, "Feedback")
    version = corrected.wait_for_another(life.first["corrected"])

    assert version == run["metadata"]["name"]
    assert names(corrected.runs()) == [life.first["corrected"], version]
    times, _, rest = trigger_of(run)["message"].partition(" ")
    assert int(times) == pytest.approx(CORRECTIONS + 5, abs=2)
    assert rest == f"corrections since {life.first['corrected']}"


def test_a_training_on_two_nodes_is_published_once_and_served(classifiers: Mapping[str, ManagedClassifier]) -> None:
    several = classifiers["several"]
    version = several.wait_for_another(None)

    told = Job(several.namespace, version).results()
    assert len(told) == 2
    assert [each.artifact_uri for each in told if each.artifact_uri] == [several.run(version)["artifactUri"]]
    assert several.versions() == {version}
    assert several.answer(CATS)[1] == version


def test_a_training_goes_on_by_itself_once_the_quota_is_gone(classifiers: Mapping[str, ManagedClassifier], life: Life) -> None:
    greedy = classifiers["greedy"]
    greedy.wait_until_served(life.forbidden)

    assert names(greedy.runs()) == [life.forbidden]
    assert greedy.condition("Degraded")["status"] == "False"


def test_a_classifier_in_another_namespace_than_the_controllers_is_served_there(
    classifiers: Mapping[str, ManagedClassifier],
) -> None:
    far = classifiers["far"]
    version = far.wait_for_another(None)

    assert far.answer(CATS) == (["cats"], version)
    assert far.status()["url"] == f"http://far-predictor.{far.namespace.name}"


def test_the_controller_has_met_no_fault_of_its_own(measuring: ControllerRelease) -> None:
    assert "a fault of the controller" not in measuring.log()
