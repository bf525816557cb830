"""The served version: what it says of its texts, and its scores on another's test part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from model.artifact import MANIFEST, PARTS, SERVED, describe, file_entry, read_manifest, to_json
from model.manifest import Task
from model.storage import StorageRejected, open_store
from tests.support.versions import make_version
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.evaluation.gate_measurement import NotCompared, ServedScores
from trainer.evaluation.served import RowCounts, read_comparison, score_served
from trainer.split import near_duplicates
from trainer.split.provenance import TextProvenance, read_served_history
from trainer.split.split import split_dataset


def examples_of(file: Path, texts: list[str], labels: dict[str, list[int]]) -> Examples:
    """labels: by name, which texts carry it."""
    pl.DataFrame({"text": texts}).write_parquet(file)
    targets = np.zeros((len(texts), len(labels)), np.uint8)
    for at, carriers in enumerate(labels.values()):
        targets[carriers, at] = 1
    return Examples(file, np.arange(len(texts)), tuple(labels), csr_matrix(targets), Task.MULTI_LABEL)


def numbered(file: Path, start: int, end: int) -> Examples:
    count = end - start
    texts = [f"text number {each} of many" for each in range(start, end)]
    return examples_of(file, texts, {"a": list(range(0, count, 2)), "b": list(range(1, count, 2))})


def with_parts(folder: Path, trained: Examples, tested: Examples) -> Path:
    """A version that has seen these."""
    make_version(folder, labels=("a", "b"))
    hashes = (near_duplicates.text_hashes(each) for each in (trained, tested))
    (folder / PARTS).write_bytes(TextProvenance.of(*hashes).to_bytes())
    manifest = read_manifest(folder).model_copy(update={"files": describe(folder)})
    (folder / MANIFEST).write_bytes(to_json(manifest))
    return folder


def configured(uri: Path | str) -> Config:
    return Config.model_validate({"gate": {"served_uri": str(uri)}, "split": {"near_duplicates": 1}})


def test_its_labels_are_aligned_by_name(tmp_path: Path) -> None:
    version = make_version(tmp_path / "v1", labels=("gone", "a", "b"))  # a text gets the labels whose names it holds
    test = examples_of(tmp_path / "t", ["a b", "b gone", "a new", "gone new"], {"a": [0, 2], "b": [0, 1, 2], "new": [2, 3]})

    found = score_served(str(version), test)

    assert isinstance(found, ServedScores)
    assert (found.version, found.scores.texts, list(found.scores.per_label)) == ("v1", 4, ["a", "b", "new"])
    labels = found.scores.per_label
    assert (labels["a"].f1, labels["b"].recall, labels["new"].f1, labels["new"].support) == (1, 2 / 3, 0, 2)
    assert found.scores.micro_f1 == 2 * 4 / (4 + 7)
    assert found.scores.subset_accuracy == 0.5


def test_a_served_version_that_always_gives_a_label_is_wrong_on_texts_without_one(tmp_path: Path) -> None:
    versions = {each: make_version(tmp_path / str(each), labels=("a", "b"), label_required=each) for each in (True, False)}
    test = replace(examples_of(tmp_path / "t", ["a", "b", "other", "words"], {"a": [0], "b": [1]}), label_required=False)

    found = {each: score_served(str(version), test) for each, version in versions.items()}

    scores = [each.scores for each in found.values() if isinstance(each, ServedScores)]
    assert [each.subset_accuracy for each in scores] == [0.5, 1]
    assert [each.samples_f1 for each in scores] == [0.5, 1]
    assert [each.predicted_without_label for each in scores] == [0, 0.5]


@pytest.mark.parametrize("place", ["file", "s3"])
def test_an_invalid_version_is_reported_in_a_sentence(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = str(tmp_path / "nothing") if place == "file" else f"{request.getfixturevalue('s3_bucket')}pets/v1/"
    seen = read_served_history(uri)
    assert seen.texts is None
    assert seen.note.startswith("the served version cannot be read, and nothing is compared with it: ")
    assert seen.not_compared
    assert isinstance(score_served(uri, numbered(tmp_path / "t", 0, 4)), NotCompared)


@pytest.mark.parametrize("place", ["file", "s3"])
def test_with_another_manifest_than_the_expected_one_nothing_is_compared(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    version, test = (
        with_parts(tmp_path / "v1", numbered(tmp_path / "a", 0, 90), numbered(tmp_path / "b", 90, 100)),
        tmp_path / "t",
    )
    uri, published = str(version), file_entry(version / MANIFEST).sha256
    if place == "s3":
        uri = f"{request.getfixturevalue('s3_bucket')}pets/v1/"
        publish_as_it_is(version, uri)
    before = score_served(uri, numbered(test, 0, 4), manifest_sha256=published)
    assert isinstance(before, ServedScores)
    assert read_served_history(uri, manifest_sha256=published).texts is not None
    lower = read_manifest(version).model_copy(update={"thresholds": (0.01, 0.01)})  # every text gets every label
    (version / MANIFEST).write_bytes(to_json(lower))
    altered = file_entry(version / MANIFEST).sha256
    if place == "s3":
        publish_as_it_is(version, uri)

    seen, found = (
        read_served_history(uri, manifest_sha256=published),
        score_served(uri, numbered(test, 0, 4), manifest_sha256=published),
    )

    assert seen.texts is None
    assert seen.note == f"the served version cannot be read, and nothing is compared with it: {seen.not_compared}"
    assert isinstance(found, NotCompared)
    for why in (seen.not_compared, found.not_compared):
        assert why is not None
        assert why.endswith(
            f"manifest.json has SHA-256 {altered}, expected {published}: it is not the manifest that was published"
        )


def test_what_a_version_was_compared_with_is_read_back_from_it(tmp_path: Path) -> None:
    folder = make_version(tmp_path / "v2")
    manifest = read_manifest(folder)
    compared = ServedScores(version="v1", uri="s3://m/v1/", scores=manifest.scores.test)
    for said in (compared, NotCompared(not_compared="manifest.json is gone")):
        (folder / SERVED).write_text(said.model_dump_json())
        assert read_comparison(open_store(str(folder)), manifest.model_copy(update={"files": describe(folder)})) == said
    assert read_comparison(open_store(str(folder)), manifest) is None


def publish_as_it_is(folder: Path, uri: str) -> None:
    """Copy the folder's files, replacing what is there."""
    store = open_store(uri)
    for file in folder.iterdir():
        store.upload(file, file.name)


def test_an_address_of_no_storage_names_the_setting() -> None:
    with pytest.raises(StorageRejected, match=r"gate\.served_uri: 'ftp://x/'"):
        read_served_history("ftp://x/")


def test_a_version_that_says_nothing_of_its_texts_is_split_around_in_no_way(tmp_path: Path) -> None:
    version, examples = make_version(tmp_path / "v1"), numbered(tmp_path / "t", 0, 100)
    divided = split_dataset(examples, configured(version), given=None)
    plain = split_dataset(examples, Config.model_validate({"split": {"near_duplicates": 1}}), given=None)
    assert divided.parts.test is not None
    assert plain.parts.test is not None
    assert divided.parts.test.rows.tolist() == plain.parts.test.rows.tolist()
    assert divided.served.not_compared is None
    assert "v1 does not list the texts that it was trained on" in divided.notes[0]
    assert plain.notes == ()


def test_a_version_that_has_seen_nothing_of_the_dataset_is_noted(tmp_path: Path) -> None:
    version = with_parts(tmp_path / "v1", numbered(tmp_path / "a", 1000, 1090), numbered(tmp_path / "b", 2000, 2010))
    divided = split_dataset(numbered(tmp_path / "t", 0, 400), configured(version), given=None)
    assert divided.notes == ("the served version v1 has seen no text of this dataset",)


def test_a_test_part_of_a_few_texts_is_noted(tmp_path: Path) -> None:
    version = with_parts(tmp_path / "v1", numbered(tmp_path / "a", 0, 390), numbered(tmp_path / "b", 390, 400))
    divided = split_dataset(numbered(tmp_path / "t", 0, 400), configured(version), given=None)
    assert divided.notes == ("the test part has 10 texts: a comparison with the served version v1 says little",)
    assert divided.parts.test is not None
    assert divided.parts.test.rows.tolist() == list(range(390, 400))
    assert divided.served.sha256 == read_manifest(version).files[PARTS].sha256


def test_with_a_given_test_set_nothing_is_kept_and_its_texts_are_written_down(tmp_path: Path) -> None:
    version = with_parts(tmp_path / "v1", numbered(tmp_path / "a", 0, 90), numbered(tmp_path / "b", 90, 100))
    examples, test = numbered(tmp_path / "t", 0, 100), numbered(tmp_path / "g", 100, 130)
    divided = split_dataset(examples, configured(version), given=test)
    assert divided.parts.test is None
    assert (len(divided.seen.trained), len(divided.seen.tested), divided.served.sha256) == (100, 30, None)


def test_the_served_versions_scores_on_the_labels_that_it_knows_are_reported(tmp_path: Path) -> None:
    version = make_version(tmp_path / "v1", labels=("gone", "a", "b"))  # a text gets the labels whose names it holds
    test = examples_of(tmp_path / "t", ["a", "b", "new", "a", "b"], {"a": [0, 4], "b": [1, 3], "new": [2]})

    found = score_served(str(version), test, RowCounts(read=10, used=5, distinct_texts=5))

    assert isinstance(found, ServedScores)
    assert found.data is not None
    assert (found.data.texts, found.data.score) == (4, 0.5)  # the text that is only new does not count
    assert (found.data.lost, found.data.lost_count) == (("gone",), 1)
    assert (found.data.labelled_before, found.data.labelled, found.data.rows, found.data.used) == (None, 5, 10, 5)
    assert found.data.score_before == read_manifest(version).scores.test.micro_f1
