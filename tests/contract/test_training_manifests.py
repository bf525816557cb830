"""Settings, variables and exit codes in the training manifests are those of the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime

from trainer.commands.exit_codes import CONFIG_WRONG, DATASET_WRONG, TERMINATED
from trainer.config.loading import load
from trainer.config.settings import Config
from trainer.run.processes import read_processes

FOLDER = Path(__file__).parents[2] / "k8s" / "manifests"
FILES = [FOLDER / "training-job.yaml", *sorted((FOLDER / "training").glob("*.yaml"))]
SEVERAL = {"01-several-nodes", "03-kubeflow-train-job"}
Document = dict[str, Any]

every_manifest = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def documents(file: Path) -> list[Document]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def of_kind(file: Path, kind: str) -> Document:
    (found,) = (each for each in documents(file) if each["kind"] == kind)
    return found


def job_of(file: Path) -> Document:
    """The specification of its Job, wherever it stands."""
    for each in documents(file):
        if each["kind"] == "Job":
            return dict(each["spec"])
        if each["kind"] == "CronJob":
            return dict(each["spec"]["jobTemplate"]["spec"])
        if each["kind"] == "TrainingRuntime":
            (job,) = each["spec"]["template"]["spec"]["replicatedJobs"]
            return dict(job["template"]["spec"])
    raise AssertionError(file)


def pod_of(file: Path) -> Document:
    return dict(job_of(file)["template"]["spec"])


def config_of(file: Path, tmp_path: Path) -> Config:
    """Return the trainer's configuration from the file and the variables. Variables from a Pod's fields get some value."""
    (container,) = pod_of(file)["containers"]
    mounted = tmp_path / "training.yaml"
    mounted.write_text(of_kind(file, "ConfigMap")["data"]["training.yaml"])
    assert container["args"] == ["train", "--config", "/etc/labelwright/training.yaml"]
    return load(mounted, {}, {each["name"]: each.get("value", "papers-1") for each in container["env"]})


@every_manifest
def test_the_trainer_reads_its_settings_and_variables(file: Path, tmp_path: Path) -> None:
    config = config_of(file, tmp_path)
    assert (config.name, config.version, config.output_dir) == ("papers", "papers-1", "s3://models")
    assert str(config.result_file) == "/dev/termination-log"
    assert (config.progress.log_format, config.progress.metrics_port) == ("json", 8080)


@every_manifest
def test_the_settings_are_those_that_are_mounted(file: Path) -> None:
    (settings,) = (each["configMap"]["name"] for each in pod_of(file)["volumes"] if "configMap" in each)
    assert settings == of_kind(file, "ConfigMap")["metadata"]["name"]


@every_manifest
def test_what_cannot_succeed_is_not_retried_and_what_was_stopped_is_not_counted(file: Path) -> None:
    (container,) = pod_of(file)["containers"]
    rules = [each for each in job_of(file)["podFailurePolicy"]["rules"] if "onExitCodes" in each]
    assert {each["onExitCodes"]["containerName"] for each in rules} == {container["name"]}
    found = {each["action"]: each["onExitCodes"]["values"] for each in rules}
    assert found.pop("FailJob") == [CONFIG_WRONG, DATASET_WRONG]
    assert found in ({}, {"Ignore": [TERMINATED]})


@every_manifest
def test_the_pod_is_confined_and_holds_no_credentials(file: Path) -> None:
    pod = pod_of(file)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]
    assert not any("SECRET" in each["name"] or "ACCESS_KEY" in each["name"] for each in container["env"])
    (access,) = (each["secretRef"]["name"] for each in container["envFrom"])
    secrets = [each for each in documents(FOLDER / "02-storage-access.yaml") if each["kind"] == "Secret"]
    assert access in {each["metadata"]["name"] for each in secrets}
    accounts = [each for each in documents(FOLDER / "02-storage-access.yaml") if each["kind"] == "ServiceAccount"]
    assert pod["serviceAccountName"] in {each["metadata"]["name"] for each in accounts}


@every_manifest
def test_several_nodes_share_an_encoder_and_one_trains_anything(file: Path, tmp_path: Path) -> None:
    config = config_of(file, tmp_path)
    if file.stem in SEVERAL:
        assert (config.training.architecture, config.training.base_model is None) == ("transformer", False)
        assert config.training.batch_size % 2 == 0
    else:
        assert config.training.architecture == "auto"


def test_the_pods_of_several_nodes_find_one_another() -> None:
    file = FOLDER / "training" / "01-several-nodes.yaml"
    job, service, spec = of_kind(file, "Job"), of_kind(file, "Service"), job_of(file)
    (container,) = pod_of(file)["containers"]
    variables = {each["name"]: each.get("value", "1") for each in container["env"]}
    processes = read_processes(variables, gpus=lambda: 0)
    assert (processes.rank, processes.world_size) == (1, spec["completions"]) == (1, spec["parallelism"])
    assert processes.node[0]["MASTER_ADDR"] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert pod_of(file)["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert spec["completionMode"] == "Indexed"


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        pytest.param("TrainJob", TrainerV1alpha1TrainJob, id="train-job"),
        pytest.param("TrainingRuntime", TrainerV1alpha1TrainingRuntime, id="runtime"),
    ],
)
def test_kubeflows_published_schema_knows_every_field(kind: str, schema: Any) -> None:
    written = of_kind(FOLDER / "training" / "03-kubeflow-train-job.yaml", kind)
    read = schema.from_dict(written).to_dict()
    assert list(missing(written, read)) == []


def missing(written: Any, read: Any, where: str = "") -> Any:
    """Return the parts that the schema dropped or changed."""
    if isinstance(written, dict):
        for key, value in written.items():
            if not isinstance(read, dict) or key not in read:
                yield f"{where}.{key}"
            else:
                yield from missing(value, read[key], f"{where}.{key}")
    elif isinstance(written, list):
        if len(written) != len(read):
            yield where
        for at, (ours, theirs) in enumerate(zip(written, read, strict=False)):
            yield from missing(ours, theirs, f"{where}[{at}]")
    elif written != read:
        yield where
