"""However a spec has come to be what it is: what there is follows from what it says now, and nothing of before is left.

After Acto (J. T. Gu et al., Acto: Automatic End-to-End Testing for Operation Correctness of Cloud System Management, SOSP 2023).
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from k8s.controller.api import crds
from k8s.controller.clients.kubernetes import RequestRefused
from k8s.controller.objects.kinds import DEPLOYMENT, INFERENCE_SERVICE, SERVING_RUNTIME, TEXT_CLASSIFIER, Document
from k8s.controller.observed.run import PLACEMENT_FIELDS
from tests.support.fakes import copied
from tests.support.kubernetes import specs
from tests.support.kubernetes.invariants import Invariants, at_rest
from tests.support.kubernetes.simulation import NAME, SPACE, Simulation, admitted

MORE = int(os.environ.get("SIMULATIONS", "0"))
# What a field may be, beside not being there.
VALUES: dict[str, list[Any]] = {
    "dataset.uri": ["s3://datasets/other/", "hf://owner/papers"],
    "dataset.testUri": ["s3://datasets/test/"],
    "dataset.corrections": ["s3://feedback/feedback/papers/"],
    "dataset.textColumns": [["text"]],
    "dataset.labelColumn": ["topic"],
    "dataset.labelColumns": [["a", "b"]],
    "dataset.labelSeparator": [";"],
    "dataset.labelRequired": [True, False],
    "dataset.aliases": [{"cs.NA": "math.NA"}, {"a": "b"}],
    "dataset.sampleCount": [1000],
    "dataset.minimumExamples": [5],
    "training.architecture": ["linear", "transformer"],
    "training.baseModel": ["minilm"],
    "training.epochs": [1.5],
    "training.batchSize": [16],
    "training.learningRate": [0.0005],
    "training.maxLength": [128],
    "training.seed": [7, 8],
    "training.balance": [specs.TRAINING["balance"] | {"loss": "plain"}, {"strategy": "undersample", "threshold": 9}],
    "training.nodes": [2],
    "training.resources": [specs.TRAINING["resources"]],
    "training.nodeSelector": [{"pool": "gpu"}, {"zone": "a"}],
    "training.tolerations": [specs.TRAINING["tolerations"]],
    "training.timeout": ["1h30m"],
    "training.tracking": [specs.TRAINING["tracking"]],
    "triggers.schedule": ["0 3 * * 1", "@monthly"],
    "triggers.timeZone": ["Europe/Berlin"],
    "triggers.datasetChange": [True],
    "triggers.datasetCheckInterval": ["5m"],
    "triggers.feedback": [{"corrections": 100}],
    "triggers.drift": [{"index": 0.2}],
    "gate.score": ["macro-f1", "accuracy"],
    "gate.minimum": [0.4],
    "gate.tolerance": [0.01],
    "gate.servedMayFall": [True],
    "gate.approve": ["papers-1a2b3c4d"],
    "serving.version": ["papers-1a2b3c4d"],
    "serving.manifestSha256": ["d" * 64],
    "serving.replicas": [{"minimum": 2}, {"minimum": 1, "maximum": 4}],
    "serving.secretName": ["readers"],
    "serving.nodeSelector": [{"pool": "cpu"}],
    "serving.tolerations": [specs.TRAINING["tolerations"]],
    "serving.resources": [{"requests": {"cpu": "500m"}}, {"limits": {"memory": "1Gi"}}],
    "storage.uri": ["s3://elsewhere/models/"],
    "storage.secretName": ["other"],
    "storage.serviceAccountName": ["cloud"],
    "storage.deletionPolicy": ["Delete"],
    "history.runs": [3],
    "history.versions": [2],
    "suspend": [True],
}
SMALLEST: Document = {
    "dataset": {"uri": "s3://datasets/papers/"},
    "storage": {"uri": "s3://models"},
    "serving": {"rollout": {"deadline": "20s"}},
}
CHANGES = st.dictionaries(st.sampled_from(sorted(VALUES)), st.integers(0, 7), min_size=1, max_size=10)


def spec(chosen: dict[str, int], *, suspended: bool = True) -> Document:
    """The smallest one with these fields."""
    found: Document = copied(SMALLEST)
    for path, number in chosen.items():
        *parents, last = path.split(".")
        here = found
        for each in parents:
            here = here.setdefault(each, {})
        here[last] = copied(VALUES[path][number % len(VALUES[path])])
    if "serviceAccountName" not in found["storage"]:
        found["storage"].setdefault("secretName", "labelwright-s3")
    if not suspended:
        found.pop("suspend", None)
    return found


def is_valid(wanted: Document) -> bool:
    metadata = {"name": NAME, "namespace": SPACE}
    try:
        admitted({"apiVersion": specs.API, "kind": "TextClassifier", "metadata": metadata, "spec": wanted})
    except RequestRefused:
        return False
    return True


def applied(*wanted: Document) -> Simulation:
    """One after the other."""
    simulation = Simulation()
    Invariants(simulation)
    simulation.cluster.create(
        {"apiVersion": specs.API, "kind": "TextClassifier", "metadata": {"name": NAME, "namespace": SPACE}, "spec": wanted[0]}
    )
    for each in wanted[1:]:
        simulation.settle(60)
        simulation.cluster.put({**simulation.classifier, "spec": each})
    simulation.settle()
    at_rest(simulation)
    return simulation


def consequences(simulation: Simulation) -> Any:
    """What follows from the spec alone; versions have no names here."""
    kinds = (INFERENCE_SERVICE, SERVING_RUNTIME, DEPLOYMENT)
    documents = [simulation.cluster.get(kind, SPACE, f"{NAME}-predictor" if kind is DEPLOYMENT else NAME) for kind in kinds]
    newest = simulation.runs()[-1]["spec"]
    training = {name: value for name, value in newest["training"].items() if name not in PLACEMENT_FIELDS}
    found = {
        "made": [(each or {}).get("spec") for each in documents],
        "annotations": [(each or {"metadata": {}})["metadata"].get("annotations") for each in documents],
        "trained": [newest["dataset"], training, newest["storage"]["uri"], newest["gate"]["score"]],
        "finalizers": simulation.classifier["metadata"].get("finalizers") or [],
        "state": simulation.status["state"],
    }
    return re.sub(r"papers-\d+-[0-9a-f]{6}", "VERSION", json.dumps(found, sort_keys=True))


def test_every_field_is_drawn() -> None:
    """Each of the CRD's fields, or what it lies in, or what lies in it; the rollout is as fast here as it can be."""
    drawn = {f"spec.{path}" for path in VALUES}
    for field in specs.fields(crds.TEXT_CLASSIFIER):
        assert "rollout" in field or any(field.startswith(each) or each.startswith(field) for each in drawn), field


@settings(max_examples=MORE or 25, derandomize=not MORE, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CHANGES, min_size=1, max_size=3), CHANGES)
@example(
    [{"training.seed": 0}, {"serving.version": 0}], {"gate.minimum": 0}
)  # pinned to a version without a run, then not any more
def test_what_there_is_follows_from_the_spec_and_not_from_its_past(before: list[dict[str, int]], last: dict[str, int]) -> None:
    past, now = [spec(each) for each in before], spec(last, suspended=False)
    assume(all(map(is_valid, [*past, now])))
    fresh, changed = applied(now), applied(*past, now)
    try:
        assert consequences(changed) == consequences(fresh)
    except AssertionError as error:
        error.add_note("\n".join([json.dumps([*past, now]), *changed.log[-200:]]))
        raise


def test_a_classifier_that_was_deleted_and_applied_again_starts_from_nothing() -> None:
    simulation = applied(spec({"training.seed": 1, "storage.deletionPolicy": 0}))
    simulation.remove()
    simulation.settle()
    assert simulation.cluster.get(TEXT_CLASSIFIER, SPACE, NAME) is None
    simulation.cluster.create(
        {"apiVersion": specs.API, "kind": "TextClassifier", "metadata": {"name": NAME, "namespace": SPACE}, "spec": spec({})}
    )
    simulation.settle()
    assert consequences(simulation) == consequences(applied(spec({})))
