"""One training in two Pods that share every batch, by the manifest of an Indexed Job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.storage import ObjectStore, open_store
from tests.cluster.namespace import Namespace, wait_until
from tests.cluster.training import Job, published, put_encoder, put_pets

SEVERAL = "training/01-several-nodes.yaml"
# Without dropout a step does the same to the same texts, however they are shared.
TRAINING = {"architecture": "transformer", "batch_size": 8, "max_length": 32, "dropout": 0, "evaluations_per_epoch": 1}
PATIENCE = 400.0

Start = Callable[..., Job]


@pytest.fixture(scope="module")
def bucket(versions: ObjectStore) -> ObjectStore:
    return open_store("s3://models/")


@pytest.fixture
def start(prepared: Namespace, trainer_image: str, bucket: ObjectStore, tmp_path: Path) -> Iterator[Start]:
    """Start a Job of that manifest; gone after the test."""
    dataset, encoder = put_pets(bucket), put_encoder(bucket, tmp_path / "bert")
    began: list[Job] = []

    def start_one(name: str, manifest: str, **training: Any) -> Job:
        settings = {
            "name": "pets",
            "output_dir": "s3://models/trained",
            "dataset": {"uri": dataset, "text_columns": ["text"], "label_columns": ["label"]},
            "training": TRAINING | {"base_model": encoder} | training,
            "checkpoints": {"every_minutes": 0.05},
        }
        job = Job(prepared, name, manifest=manifest, settings=settings, variables={"OMP_NUM_THREADS": "1"})
        began.append(job)
        job.apply(trainer_image)
        return job

    yield start_one
    for each in began:
        each.delete()


def test_two_pods_have_the_loss_curve_of_one_and_publish_once(start: Start, bucket: ObjectStore) -> None:
    alone = start("pets-alone", "training-job.yaml", num_epochs=4)
    assert alone.wait(seconds=PATIENCE) == "Complete"

    both = start("pets-both", SEVERAL, num_epochs=4)
    assert both.wait(seconds=PATIENCE) == "Complete"

    (expected,) = (each for each in alone.losses() if each)
    found = both.losses()
    assert len(found) == 2
    for each in found:
        assert each == pytest.approx(expected, rel=0.01, abs=0.001)
    assert [each.artifact_uri for each in both.results() if each.artifact_uri] == ["s3://models/trained/pets/pets-both/"]
    assert published(bucket, both.name).training.epochs == published(bucket, alone.name).training.epochs


def test_when_a_pod_is_lost_all_begin_again_from_the_last_checkpoint(start: Start, bucket: ObjectStore) -> None:
    job = start("pets-lost", SEVERAL, num_epochs=40, patience=1000)
    wait_until(
        lambda: job.pod_of(0) and "saved a checkpoint" in job.log_of(0), "a checkpoint;", seconds=PATIENCE, instead=job.describe
    )
    killed = job.pod_of(1)
    assert killed is not None
    job.namespace.kubectl("delete", "pod", killed, "--force", "--grace-period=0", "--wait=false")

    assert job.wait(seconds=PATIENCE) == "Complete"
    assert "resuming at step" in job.log_of(0)
    assert [each.artifact_uri for each in job.results() if each.artifact_uri] == ["s3://models/trained/pets/pets-lost/"]
    assert published(bucket, job.name).training.epochs == pytest.approx(40)
