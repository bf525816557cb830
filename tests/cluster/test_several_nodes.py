"""One training in two Pods that share every batch, by the manifest of an Indexed Job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model.storage import ObjectStore, open_store
from tests.support.cluster.namespace import Namespace, wait_until
from tests.support.cluster.training import Job, published, put_encoder, put_pets

SEVERAL = "training/01-several-nodes.yaml"
# Without dropout a step does the same to the same texts, however they are shared.
TRAINING = {"architecture": "transformer", "batch_size": 8, "max_length": 32, "dropout": 0, "evaluations_per_epoch": 1}
PATIENCE = 400.0

# Waits for the first Pod of a training by its metrics, which everybody may read, and then knocks where its peers meet.
STRANGER = """
import socket, sys, time

def knock(port, seconds):
    try:
        socket.create_connection((sys.argv[1], port), timeout=seconds).close()
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"
    return "open"

deadline = time.monotonic() + 400
while knock(8080, 1) != "open" and time.monotonic() < deadline:
    time.sleep(0.2)
print("8080", knock(8080, 5), "29400", knock(29400, 5))
"""

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


def test_two_pods_have_the_loss_curve_of_one_publish_once_and_meet_no_stranger(
    start: Start, bucket: ObjectStore, prepared: Namespace, trainer_image: str
) -> None:
    alone = start("pets-alone", "training-job.yaml", num_epochs=4)
    assert alone.wait(seconds=PATIENCE) == "Complete"

    stranger(prepared, trainer_image, first="pets-both-0.pets-both")
    both = start("pets-both", SEVERAL, num_epochs=4)
    assert both.wait(seconds=PATIENCE) == "Complete"
    # A port without a listener would refuse at once: the policy drops everything.
    said = wait_until(lambda: prepared.log("stranger", "stranger"), "what the stranger met;", seconds=60, instead=both.describe)
    assert said.split() == ["8080", "open", "29400", "silent"]

    (expected,) = (each for each in alone.losses() if each)
    found = both.losses()
    assert len(found) == 2
    for each in found:
        assert each == pytest.approx(expected, rel=0.01, abs=0.001)
    assert [each.artifact_uri for each in both.results() if each.artifact_uri] == ["s3://models/trained/pets/pets-both/"]
    assert published(bucket, both.name).training.epochs == published(bucket, alone.name).training.epochs


def stranger(namespace: Namespace, image: str, *, first: str) -> None:
    """A Pod of the same namespace that is no part of the training."""
    container = {
        "name": "stranger",
        "image": image,
        "command": ["python", "-c", STRANGER, first],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    namespace.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": spec}])


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
