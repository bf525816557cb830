"""Datasets that are not what they were: without a minimum, no version of them is served until someone approves it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from model.storage import ObjectStore, open_store
from tests.support.cluster.controlled import API, CLASSIFIER, RUN, ControllerRelease, ManagedClassifier, put_texts, spec
from tests.support.cluster.namespace import Namespace

pytestmark = pytest.mark.cluster

Harm = Callable[[pl.DataFrame], pl.DataFrame]
SECONDS = 300.0  # for trainings that go on side by side


def shuffled(texts: pl.DataFrame) -> pl.DataFrame:
    return texts.with_columns(pl.Series("label", np.random.default_rng(0).permutation(texts["label"].to_numpy())))


def swapped(texts: pl.DataFrame) -> pl.DataFrame:
    return texts.with_columns(pl.col("label").replace({"cats": "dogs", "dogs": "cats"}))


def half_unlabelled(texts: pl.DataFrame) -> pl.DataFrame:
    return (
        texts.with_row_index().with_columns(pl.when(pl.col("index") % 2 == 0).then(pl.col("label")).alias("label")).drop("index")
    )


def cut(texts: pl.DataFrame) -> pl.DataFrame:
    return texts.with_columns(pl.col("text").str.head(10))


def in_another_language(texts: pl.DataFrame) -> pl.DataFrame:
    """Every letter is another, so no word is known."""
    letters = [chr(each) for each in range(ord("a"), ord("z") + 1)]
    return texts.with_columns(pl.col("text").str.replace_many(letters, [chr(ord(each) + 0x410 - 97 + 32) for each in letters]))


HARMS: dict[str, Harm] = {
    "shuffled": shuffled,
    "swapped": swapped,
    "half-unlabelled": half_unlabelled,
    "cut": cut,
    "another-language": in_another_language,
}


@dataclass(frozen=True)
class Begun:
    """A classifier that serves what good texts taught it, and a training on each of the other datasets."""

    pets: ManagedClassifier
    served: str
    uris: dict[str, str]

    def run(self, harm: str) -> dict[str, object]:
        """The status of that training, once it is over."""
        over = ("Published", "Held", "Rejected", "Failed")
        self.pets.wait_for(lambda _: self.pets.run(f"harm-{harm}").get("state") in over, f"{harm} is over", seconds=SECONDS)
        return self.pets.run(f"harm-{harm}")


@pytest.fixture(scope="module")
def begun(namespace: Namespace, controller: ControllerRelease, versions: ObjectStore) -> Iterator[Begun]:
    bucket, pets = open_store("s3://models/"), ManagedClassifier(namespace, "gated")
    good = put_texts(bucket, "gated.parquet")
    wanted = spec(good, gate={})
    pets.apply(wanted)
    served = str(pets.wait_for(lambda now: now.get("version"), "a version is served"))
    texts = pl.read_parquet(io.BytesIO(bucket.read("datasets/gated.parquet")))
    uris = {}
    for name, harm in HARMS.items():
        file = io.BytesIO()
        harm(texts).write_parquet(file)
        bucket.write(f"datasets/{name}.parquet", file.getvalue())
        uris[name] = f"{bucket.uri}datasets/{name}.parquet"
    compared = {"version": served, "uri": pets.status()["served"]["uri"]}
    asked = {part: wanted[part] for part in ("training", "storage")}
    runs = [
        {"metadata": {"name": f"harm-{name}"}, "spec": {**asked, "dataset": wanted["dataset"] | {"uri": uri}, "served": compared}}
        for name, uri in uris.items()
    ]
    runs.append({"metadata": {"name": "harm-first"}, "spec": {**asked, "dataset": wanted["dataset"] | {"uri": uris["shuffled"]}}})
    namespace.apply(
        [{"apiVersion": API, "kind": "TrainingRun", **each, "spec": {"classifier": "gated", **each["spec"]}} for each in runs]
    )
    yield Begun(pets, served, uris)
    for each in runs:
        namespace.kubectl("delete", RUN, each["metadata"]["name"], "--ignore-not-found", "--wait=false")
    pets.delete()


@pytest.mark.parametrize("harm", HARMS)
def test_a_version_of_a_dataset_that_is_not_what_it_was_is_held(begun: Begun, harm: str) -> None:
    run = begun.run(harm)

    assert run["state"] == "Held", run
    message = str(run["message"])
    changed = "distinct texts have a label" if harm == "half-unlabelled" else "the dataset changed, not the model"
    assert changed in message
    assert f"the served version {begun.served}" in message
    assert f"spec.gate.approve: harm-{harm} (serves this version)" in message


def test_a_first_version_that_learned_nothing_is_held(begun: Begun) -> None:
    run = begun.run("first")
    assert run["state"] == "Held", run
    assert "the version learned nothing" in str(run["message"])


def test_its_classifier_shows_what_is_held_and_goes_on_to_serve(begun: Begun) -> None:
    pets = begun.pets
    pets.patch(dataset={"uri": begun.uris["another-language"]})
    held = pets.wait_for_run("Held", other_than=begun.served)
    pets.wait_for(lambda now: now.get("state") == "Degraded", "it is Degraded")

    degraded = pets.condition("Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "DatasetSuspicious")
    assert f"spec.gate.approve: {held} (serves this version)" in degraded["message"]
    assert pets.condition("Ready")["status"] == "True"
    assert pets.status()["version"] == begun.served
    wide = pets.namespace.kubectl("get", CLASSIFIER, pets.name, "--output=wide")
    assert f"{held}: held: the dataset changed, not the model" in wide
    assert "Held" in wide


def test_one_patch_lets_a_dataset_through_that_really_changed_and_nothing_is_trained_again(begun: Begun) -> None:
    pets = begun.pets
    held = pets.status()["latestRun"]
    pets.patch(gate={"approve": held})
    pets.wait_until_served(held)

    assert pets.run(held)["state"] == "Published"
    assert pets.run(held)["message"].startswith("approved by spec.gate.approve")
    assert [each["metadata"]["name"] for each in pets.runs()] == [begun.served, held]
    assert pets.condition("Degraded")["status"] == "False"
