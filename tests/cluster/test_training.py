"""Training by `kubectl apply`: texts from S3, a version to S3, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from model.scores import ScoreName
from model.storage import ObjectStore, open_store
from tests.support.cluster.namespace import Namespace
from tests.support.cluster.training import Job, published, put_pets

Start = Callable[..., Job]


@pytest.fixture(scope="module")
def bucket(versions: ObjectStore) -> ObjectStore:
    """The bucket of the cluster's S3."""
    return open_store("s3://models/")


@pytest.fixture(scope="module")
def dataset(bucket: ObjectStore) -> str:
    """The URI of sentences about animals."""
    return put_pets(bucket)


@pytest.fixture
def start(prepared: Namespace, trainer_image: str, dataset: str) -> Iterator[Start]:
    """Start a Job of these settings on that dataset; gone after the test."""
    began: list[Job] = []

    def start_one(name: str, settings: dict[str, Any], **others: Any) -> Job:
        columns = {"uri": dataset, "text_columns": ["text"], "label_columns": ["label"]}
        common = {"name": "pets", "output_dir": "s3://models/trained", "dataset": columns}
        job = Job(prepared, name, settings=common | settings, **others)
        began.append(job)
        job.apply(trainer_image)
        return job

    yield start_one
    for each in began:
        each.delete()


def test_a_job_trains_on_texts_in_s3_and_leaves_a_version_there(start: Start, bucket: ObjectStore) -> None:
    job = start("pets-linear", {})

    assert job.wait() == "Complete"
    (result,) = job.results()
    manifest = published(bucket, "pets-linear")
    assert result.exit_code == 0
    assert result.artifact_uri == "s3://models/trained/pets/pets-linear/"
    assert result.dataset_sha256 == manifest.dataset.sha256
    assert result.gate is not None
    assert result.gate.scores[ScoreName.MICRO_F1] == manifest.scores.test.micro_f1 > 0.9


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        pytest.param({"training": {"batch_size": 0}}, 64, "training.batch_size is 0", id="a-setting"),
        pytest.param({"output_dir": "s3://no-such-bucket"}, 64, "no such bucket", id="no-bucket"),
        pytest.param({"dataset": {"uri": "s3://models/datasets/none/"}}, 65, "there is no file", id="no-dataset"),
    ],
)
def test_what_cannot_succeed_is_not_tried_again(start: Start, settings: dict[str, Any], code: int, said: str) -> None:
    job = start(f"pets-wrong-{code}-{len(said)}", settings)

    assert job.wait() == "Failed"
    (result,) = job.results()
    assert result.exit_code == code
    assert said in result.message
    assert len(job.pods()) == 1
