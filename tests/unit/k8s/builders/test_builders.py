"""What is built: Jobs that the cluster takes and the trainer understands, and a service like the one in the manifests."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.controller.api.v1alpha1 import ResourcesSpec, read_text_classifier, read_training_run
from k8s.controller.builders.maintenance_jobs import dataset_check, prune
from k8s.controller.builders.serving import inference_service, serving_runtime
from k8s.controller.builders.training_job import Images, headless_service, peer_network_policy, training_job
from k8s.controller.builders.training_run import training_run
from k8s.controller.objects import names
from k8s.controller.objects.kinds import Document
from k8s.controller.objects.ports import TRAINER_METRICS_PORT
from tests.support.kubernetes import specs
from tests.support.kubernetes.sights import IMAGES, classifier, run
from trainer.config.loading import load

MANIFESTS = Path("k8s/manifests")


def manifest(name: str, kind: str) -> Document:
    documents = list(yaml.safe_load_all((MANIFESTS / name).read_text()))
    return next(each for each in documents if each["kind"] == kind)


def job(spec: Document | None = None) -> Document:
    """Of a run with this spec, else of the smallest."""
    found = run("papers-1-aaaaaa", spec=spec).document
    return training_job(found, read_training_run(found), Images("labelwright/trainer:dev", "labelwright/predictor:dev"))


def container(document: Document) -> Document:
    found: Document = document["spec"]["template"]["spec"]["containers"][0]
    return found


def settings(document: Document) -> dict[str, Any]:
    """The trainer's, as the container gets them."""
    given = {each["name"]: each.get("value") for each in container(document)["env"]}
    plain = {"LABELWRIGHT__RESULT_FILE", "LABELWRIGHT__PROGRESS__LOG_FORMAT"}
    return {
        name.removeprefix("LABELWRIGHT__").replace("__", ".").lower(): value if name in plain else json.loads(value or "null")
        for name, value in given.items()
        if name.startswith("LABELWRIGHT__")
    }


def fits(example: Any, found: Any, *, but: tuple[str, ...] = (), path: str = "") -> list[str]:
    """Where the built document lacks what the example has."""
    if path in but:
        return []
    if isinstance(example, dict) and isinstance(found, dict):
        return [each for key in example for each in fits(example[key], found.get(key), but=but, path=f"{path}.{key}")]
    return [] if example == found else [f"{path}: {example!r}, built {found!r}"]


def test_a_training_job_has_what_the_manifest_has() -> None:
    example = manifest("training-job.yaml", "Job")
    # Which container is meant matters where there are several; of these there is one.
    for rule in example["spec"]["podFailurePolicy"]["rules"]:
        rule.get("onExitCodes", {}).pop("containerName", None)
    pod = ".spec.template.spec"
    assert fits(example, job(), but=(".metadata.name", f"{pod}.serviceAccountName", f"{pod}.containers", f"{pod}.volumes")) == []
    wanted, built = container(example), container(job())
    assert fits(wanted, built, but=(".args", ".env", ".resources", ".volumeMounts")) == []
    assert built["args"][0] == wanted["args"][0]
    assert {"name": "scratch", "mountPath": "/tmp"} in built["volumeMounts"]
    env = {each["name"]: each["value"] for each in built["env"]}
    for each in wanted["env"]:
        if "value" in each:
            assert env[each["name"]] == each["value"]


def test_of_the_smallest_spec_nothing_is_set_that_is_the_trainers_to_choose() -> None:
    found = settings(job())
    assert found["name"] == "papers"
    assert found["version"] == "papers-1-aaaaaa"
    assert found["dataset.uri"] == "s3://datasets/papers/"
    assert not {"dataset.label_columns", "training.num_epochs", "gate.minimum", "gate.served_uri", "tracking.uri"} & found.keys()


def test_everything_that_a_spec_can_say_reaches_the_trainer() -> None:
    found = settings(job(specs.RUN | {"cancelled": False}))
    dataset, training, balance = specs.DATASET, specs.TRAINING, specs.TRAINING["balance"]
    expected = {
        "output_dir": specs.STORAGE["uri"], "dataset.uri": dataset["uri"], "dataset.test_uri": dataset["testUri"],
        "dataset.corrections": dataset["corrections"],
        "dataset.text_columns": dataset["textColumns"], "dataset.label_columns": [dataset["labelColumn"]],
        "dataset.label_separator": " ", "dataset.label_required": False,
        "dataset.aliases": dataset["aliases"], "dataset.sample_count": 1000,
        "dataset.minimum_examples": 5, "training.architecture": "transformer", "training.base_model": training["baseModel"],
        "training.num_epochs": 1.5, "training.batch_size": 16, "training.learning_rate": 0.0005, "training.max_length": 128,
        "training.seed": 7, "balance.sampling": balance["strategy"], "balance.threshold": 100, "balance.oversample_share": 0.5,
        "balance.loss": "focal", "gate.score": "macro-f1", "gate.minimum": 0.4, "gate.tolerance": 0.01,
        "gate.served_uri": specs.RUN["served"]["uri"],
        "gate.served_manifest_sha256": specs.RUN["served"]["manifestSha256"],
        "tracking.uri": "http://mlflow:5000", "tracking.experiment": "papers",
    }  # fmt: skip
    assert expected.items() <= found.items()


def test_every_setting_is_one_of_the_trainers() -> None:
    variables = {
        each["name"]: each["value"] for each in container(job(specs.RUN | {"cancelled": False}))["env"] if "value" in each
    }
    config = load(None, {}, variables)
    assert (config.version, config.training.seed, config.gate.minimum) == ("papers-1-aaaaaa", 7, 0.4)


def test_where_it_runs_is_the_pods() -> None:
    found = job(specs.RUN | {"cancelled": False})
    pod = found["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "gpu"}
    assert pod["tolerations"] == specs.TRAINING["tolerations"]
    assert found["spec"]["activeDeadlineSeconds"] == 5400
    assert container(found)["resources"]["limits"] == {"memory": "4Gi", "nvidia.com/gpu": "1"}
    assert container(found)["envFrom"] == [{"secretRef": {"name": "labelwright-s3"}}]


def test_a_training_without_settings_gets_the_controllers() -> None:
    told = dataclasses.replace(IMAGES, training_resources=ResourcesSpec(limits={"cpu": "4"}))
    found = run("papers-1-aaaaaa").document

    assert container(job())["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "8Gi"}}
    assert container(training_job(found, read_training_run(found), told))["resources"] == {"limits": {"cpu": "4"}}


def test_maintenance_jobs_have_limits_that_a_quota_may_ask_for_and_run_where_servers_do() -> None:
    serving = {"nodeSelector": {"pool": "serving"}, "tolerations": [{"key": "serving", "operator": "Exists"}]}
    document = classifier(serving=serving)
    spec = read_text_classifier(document)
    told = dataclasses.replace(IMAGES, job_resources=ResourcesSpec(limits={"cpu": "2", "memory": "2Gi"}))
    for made in (dataset_check(document, spec, IMAGES, slot=1), prune(document, spec, IMAGES, versions=())):
        pod = made["spec"]["template"]["spec"]
        assert set(container(made)["resources"]["limits"]) == {"cpu", "memory"}
        assert {name: pod[name] for name in serving} == serving
    assert container(prune(document, spec, told, versions=()))["resources"] == {"limits": {"cpu": "2", "memory": "2Gi"}}
    predictor = inference_service(document, spec, IMAGES, uri="s3://v/")["spec"]["predictor"]
    assert {name: predictor[name] for name in serving} == serving


def test_every_container_has_limits_of_cpu_but_a_training_which_may_be_given_some() -> None:
    document = classifier()
    spec = read_text_classifier(document)
    service, runtime = inference_service(document, spec, IMAGES, uri="s3://v/"), serving_runtime(document, IMAGES)
    small = [container(dataset_check(document, spec, IMAGES, slot=1)), container(prune(document, spec, IMAGES, versions=()))]
    for each in [*service["spec"]["predictor"]["initContainers"], *runtime["spec"]["containers"], *small]:
        assert "cpu" in each["resources"]["limits"], each["name"]


def test_the_pods_of_several_nodes_find_the_first() -> None:
    spec = specs.RUN | {"cancelled": False}
    found, service = job(spec), headless_service(*_read(spec))
    env = {each["name"]: each for each in container(found)["env"]}
    assert (found["spec"]["completionMode"], found["spec"]["completions"], found["spec"]["parallelism"]) == ("Indexed", 2, 2)
    assert env["PET_MASTER_ADDR"]["value"] == "papers-1-aaaaaa-0.papers-1-aaaaaa"
    assert (env["PET_NNODES"]["value"], env["PET_NPROC_PER_NODE"]["value"]) == ("2", "1")
    assert "fieldRef" in env["PET_NODE_RANK"]["valueFrom"]
    assert found["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": found["metadata"]["name"]}


def test_only_pods_of_the_same_training_and_prometheus_reach_the_pods_of_several_nodes() -> None:
    policy = peer_network_policy(*_read(specs.RUN | {"cancelled": False}))["spec"]
    same_job = {"matchLabels": {"batch.kubernetes.io/job-name": "papers-1-aaaaaa"}}
    assert policy["podSelector"] == same_job
    assert policy["policyTypes"] == ["Ingress"]
    # Without a namespaceSelector a peer is of the policy's own namespace.
    assert policy["ingress"] == [
        {"from": [{"podSelector": same_job}]},
        {"ports": [{"protocol": "TCP", "port": TRAINER_METRICS_PORT}]},
    ]
    example = manifest("training/01-several-nodes.yaml", "NetworkPolicy")["spec"]
    example_job = manifest("training/01-several-nodes.yaml", "Job")["metadata"]["name"]
    assert json.loads(json.dumps(example).replace(f'"{example_job}"', '"papers-1-aaaaaa"')) == policy


def _read(spec: Document) -> tuple[Document, Any]:
    found = run("papers-1-aaaaaa", spec=spec).document
    return found, read_training_run(found)


def test_an_account_of_the_users_takes_the_secrets_place() -> None:
    storage = {"uri": "s3://models", "serviceAccountName": "cloud"}
    found = job({"storage": storage})
    document = classifier(storage={"secretName": None, "serviceAccountName": "cloud"})
    spec = read_text_classifier(document)
    assert found["spec"]["template"]["spec"]["serviceAccountName"] == "cloud"
    assert container(found)["envFrom"] == []
    predictor = inference_service(document, spec, IMAGES, uri="s3://v/")["spec"]["predictor"]
    assert predictor["serviceAccountName"] == "cloud"
    assert not predictor["initContainers"][0].get("envFrom")
    # Then the identity may be the node's.
    assert "AWS_EC2_METADATA_DISABLED" not in json.dumps([found, predictor])


def test_the_runtime_is_that_of_the_manifest() -> None:
    example = manifest("01-serving-runtime.yaml", "ServingRuntime")
    built = serving_runtime(classifier(), Images("", "labelwright/predictor:dev"))
    assert fits(example["spec"], built["spec"], but=(".containers", ".supportedModelFormats", ".volumes")) == []
    (wanted,), (found,) = example["spec"]["containers"], built["spec"]["containers"]
    assert fits(wanted, found, but=(".volumeMounts",)) == []
    assert all(each in found["volumeMounts"] for each in wanted["volumeMounts"])
    assert all(each in built["spec"]["volumes"] for each in example["spec"]["volumes"])
    # Named by each service, so that it is chosen by none that was not asked.
    assert built["spec"]["supportedModelFormats"] == [{"name": "labelwright", "version": "1", "autoSelect": False}]


def test_the_service_is_that_of_the_manifest() -> None:
    example = manifest("03-inference-service.yaml", "InferenceService")
    document = classifier()
    uri = example["spec"]["predictor"]["model"]["storageUri"]
    built = inference_service(document, read_text_classifier(document), IMAGES, uri=uri)
    assert fits(example, built, but=(".spec.predictor.serviceAccountName", ".spec.predictor.model.runtime")) == []
    predictor = built["spec"]["predictor"]
    assert predictor["model"]["runtime"] == serving_runtime(document, IMAGES)["metadata"]["name"]
    (downloader,) = predictor["initContainers"]
    assert downloader["name"] == "storage-initializer"  # or KServe would add its own
    assert uri in downloader["args"]
    assert downloader["envFrom"] == [{"secretRef": {"name": "labelwright-s3"}}]


def test_servers_download_with_their_own_secret_and_trainings_keep_theirs() -> None:
    document = classifier(serving={"secretName": "readers"})
    spec = read_text_classifier(document)
    built = inference_service(document, spec, IMAGES, uri="s3://models/papers/1/")

    (downloader,) = built["spec"]["predictor"]["initContainers"]
    assert downloader["envFrom"] == [{"secretRef": {"name": "readers"}}]
    assert container(dataset_check(document, spec, IMAGES, slot=1))["envFrom"] == [{"secretRef": {"name": "labelwright-s3"}}]


@pytest.mark.parametrize(
    ("replicas", "expected", "scaler"),
    [
        pytest.param({}, {"minReplicas": 1}, "none", id="one"),
        pytest.param({"minimum": 3, "maximum": 3}, {"minReplicas": 3}, "none", id="always-three"),
        pytest.param({"minimum": 2, "maximum": 4}, {"minReplicas": 2, "maxReplicas": 4}, "hpa", id="by-the-load"),
    ],
)
def test_replicas(replicas: Document, expected: Document, scaler: str) -> None:
    document = classifier(serving={"replicas": replicas})
    built = inference_service(document, read_text_classifier(document), IMAGES, uri="s3://v/")
    predictor = built["spec"]["predictor"]
    assert {key: predictor[key] for key in ("minReplicas", "maxReplicas") if key in predictor} == expected
    assert built["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == scaler


def test_another_version_is_another_address_and_nothing_else() -> None:
    document = classifier()
    spec = read_text_classifier(document)
    first, second = (inference_service(document, spec, IMAGES, uri=uri) for uri in ("s3://1/", "s3://2/"))
    assert json.dumps(first).replace("s3://1/", "s3://2/") == json.dumps(second)


def test_maintenance_jobs_say_what_they_are_for() -> None:
    document = classifier(dataset={"testUri": "s3://datasets/test/"})
    spec = read_text_classifier(document)
    looking, some, all_ = (
        dataset_check(document, spec, IMAGES, slot=7),
        prune(document, spec, IMAGES, versions=("v1", "v2")),
        prune(document, spec, IMAGES, versions=()),
    )
    assert container(looking)["args"] == ["fingerprint"]
    assert settings(looking)["dataset.test_uri"] == "s3://datasets/test/"
    assert container(some)["args"] == ["prune", "--output-dir", "s3://models", "--name", "papers", "v1", "v2"]
    assert container(all_)["args"][-1] == "--all"
    assert len({each["metadata"]["name"] for each in (looking, some, all_)}) == 3


def made_run(**changed: Any) -> Document:
    given = {"sequence": 3, "previous": "papers-2-bbbbbb", "trigger": {"reason": "Schedule", "token": "t"}, "served": None}
    return training_run(classifier(), **{**given, **changed})


EVERYTHING = [
    pytest.param(lambda: job(specs.RUN | {"cancelled": False}), id="training-job"),
    pytest.param(lambda: headless_service(*_read(specs.RUN | {"cancelled": False})), id="meeting-point"),
    pytest.param(lambda: peer_network_policy(*_read(specs.RUN | {"cancelled": False})), id="rendezvous-policy"),
    pytest.param(lambda: dataset_check(classifier(), read_text_classifier(classifier()), IMAGES, slot=1), id="dataset-check"),
    pytest.param(lambda: prune(classifier(), read_text_classifier(classifier()), IMAGES, versions=()), id="prune"),
    pytest.param(lambda: serving_runtime(classifier(), IMAGES), id="runtime"),
    pytest.param(
        lambda: inference_service(classifier(), read_text_classifier(classifier()), IMAGES, uri="s3://v/"), id="service"
    ),
    pytest.param(made_run, id="run"),
]


@pytest.mark.parametrize("build", EVERYTHING)
def test_everything_is_labelled_owned_and_of_a_name_that_kubernetes_takes(build: Any) -> None:
    metadata = build()["metadata"]
    assert metadata["labels"].items() >= names.made_for("papers").items()
    assert metadata["labels"]["app.kubernetes.io/component"] in {"trainer", "predictor", "dataset-check", "prune"}
    assert [each["controller"] for each in metadata["ownerReferences"]] == [True]
    assert metadata["namespace"] == "one"
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", metadata["name"])


@pytest.mark.parametrize("build", EVERYTHING)
def test_no_pod_of_ours_has_rights_that_it_does_not_need(build: Any) -> None:
    pod = build()["spec"].get("template", {}).get("spec") if "spec" in build() else None
    if pod:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert all(each["securityContext"]["capabilities"] == {"drop": ["ALL"]} for each in pod["containers"])


@pytest.mark.parametrize("build", EVERYTHING)
def test_a_container_that_is_given_a_secret_never_takes_the_role_of_the_node(build: Any) -> None:
    for each in containers_with_a_secret(build()):
        assert {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"} in each["env"]


def test_the_jobs_and_the_downloader_are_given_a_secret() -> None:
    """Or the test before would say nothing."""
    found = [len(containers_with_a_secret(each.values[0]())) for each in EVERYTHING]
    assert sum(found) == 4


@pytest.mark.parametrize("file", sorted(MANIFESTS.rglob("*.yaml")), ids=lambda file: file.stem)
def test_no_manifest_lets_a_container_with_a_secret_take_the_role_of_the_node(file: Path) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        for each in containers_with_a_secret(document):
            assert {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"} in each["env"]


def containers_with_a_secret(document: Any) -> list[Document]:
    """Wherever they stand in it."""
    if isinstance(document, list):
        return [each for part in document for each in containers_with_a_secret(part)]
    if not isinstance(document, dict):
        return []
    own = [document] if any("secretRef" in each for each in document.get("envFrom") or ()) else []
    return [*own, *(each for part in document.values() for each in containers_with_a_secret(part))]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"sequence": 4}, id="its-place"),
        pytest.param({"previous": "papers-2-cccccc"}, id="the-run-before"),
        pytest.param({"trigger": {"reason": "Drift", "token": "t"}}, id="the-reason"),
        pytest.param({"trigger": {"reason": "Schedule", "token": "u"}}, id="the-occasion"),
    ],
)
def test_a_run_is_named_after_its_occasion(changed: Document) -> None:
    assert made_run()["metadata"]["name"] == made_run(served={"version": "v", "uri": "s3://v/"})["metadata"]["name"]
    assert made_run()["metadata"]["name"] != made_run(**changed)["metadata"]["name"]


def test_a_run_is_what_the_api_server_takes() -> None:
    read_training_run(made_run(served={"version": "v1", "uri": "s3://v1/"}))
