"""A training whose Pods are killed and whose S3 is stopped, and which publishes all the same, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
import yaml

from model.storage import ObjectStore, open_store
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.served import MAX_START_SECONDS
from tests.support.cluster.training import Job, published, put_encoder, put_pets

HERE = Path(__file__).parent
STOPPED_SECONDS = 60
NAME = "pets-interrupted"
TRAINING = {
    "architecture": "transformer",
    "num_epochs": 150,
    "patience": 100_000,
    "batch_size": 4,
    "max_length": 32,
    "evaluations_per_epoch": 1,
}


class KeptS3:
    """An S3 of the namespace that can be stopped and started."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        namespace.apply(list(yaml.safe_load_all((HERE / "minio-kept.yaml").read_text())))
        self.start()

    def start(self) -> None:
        self._namespace.kubectl("scale", "deployment/minio-kept", "--replicas=1")
        self._namespace.kubectl("rollout", "status", "deployment/minio-kept", f"--timeout={MAX_START_SECONDS:g}s")

    def stop(self) -> None:
        self._namespace.kubectl("scale", "deployment/minio-kept", "--replicas=0")
        self._namespace.kubectl("wait", "--for=delete", "pod", "--selector=app=minio-kept", f"--timeout={MAX_START_SECONDS:g}s")

    @contextmanager
    def opened(self) -> Iterator[ObjectStore]:
        """Its bucket, while it is not stopped."""
        with (
            self._namespace.forwarded("deployment/minio-kept", 9000) as (address,),
            pytest.MonkeyPatch.context() as environment,
        ):
            environment.setenv("AWS_ENDPOINT_URL", f"http://{address}")
            client = boto3.client("s3")
            if not client.list_buckets()["Buckets"]:
                client.create_bucket(Bucket="kept")
            yield open_store("s3://kept/")


@pytest.fixture
def storage(prepared: Namespace) -> Iterator[KeptS3]:
    yield KeptS3(prepared)
    prepared.kubectl("delete", "deployment/minio-kept", "persistentvolumeclaim/minio-kept", "--wait=false")


def last_step(job: Job, said: str) -> int:
    """The last step of which the newest Pod said that, 0 if it has not."""
    lines = [line for line in job.lines() if said in str(line["message"])]
    return int(str(lines[-1].get("step", 0))) if lines else 0


def test_a_training_survives_two_kills_and_a_minute_without_s3(
    prepared: Namespace, trainer_image: str, storage: KeptS3, tmp_path: Path
) -> None:
    with storage.opened() as bucket:
        dataset, encoder = put_pets(bucket), put_encoder(bucket, tmp_path / "bert")
    settings = {
        "name": "pets",
        "output_dir": "s3://kept/trained",
        "dataset": {"uri": dataset, "text_columns": ["text"], "label_columns": ["label"]},
        "training": TRAINING | {"base_model": encoder},
        "checkpoints": {"every_minutes": 0.05},
    }
    job = Job(prepared, NAME, settings=settings, variables={"AWS_ENDPOINT_URL": f"http://minio-kept.{prepared.name}:9000"})
    job.apply(trainer_image)

    first = wait_until(lambda: last_step(job, "saved a checkpoint"), "a checkpoint;", seconds=300, instead=job.describe)
    killed = job.kill()  # SIGTERM, as a drained node does
    second = wait_until(
        lambda: job.newest() != killed and last_step(job, "saved a checkpoint"),
        "a second checkpoint;",
        seconds=300,
        instead=job.describe,
    )
    assert "resuming at step" in job.log()
    assert second > first

    storage.stop()
    stopped = time.monotonic()
    wait_until(lambda: "no checkpoint was saved" in job.log(), "a checkpoint that fails;", seconds=120, instead=job.describe)
    time.sleep(max(0.0, STOPPED_SECONDS - (time.monotonic() - stopped)))
    storage.start()
    wait_until(
        lambda: job.condition() or last_step(job, "saved a checkpoint") > second + 10,
        "one that does not;",
        seconds=180,
        instead=job.describe,
    )
    job.kill("--force", "--grace-period=0")  # and nothing can be saved

    assert job.wait() == "Complete"
    assert "resuming at step" in job.log()
    (result,) = [each for each in job.results() if each.exit_code == 0]
    assert result.artifact_uri == f"s3://kept/trained/pets/{NAME}/"
    with storage.opened() as bucket:
        manifest = published(bucket, NAME)
        left = [each.key for each in bucket.list("trained/") if not each.key.startswith(f"trained/pets/{NAME}/")]
    assert manifest.training.epochs == pytest.approx(TRAINING["num_epochs"])
    assert left == []
    job.delete()
