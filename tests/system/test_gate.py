"""A version is compared with the served one on texts that neither was trained on, as a Job's Pod would."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from model.artifact import file_entry, verify
from model.gate import GateRecord
from model.manifest import Manifest, Task
from model.run_result import RunResult
from model.scores import ScoreName
from tests.support.commands import labelwright
from trainer.data.examples import Examples
from trainer.split import near_duplicates
from trainer.split.provenance import TextProvenance

WORDS = {
    "dogs": "bark fetch puppy leash kennel howl", "cats": "purr whiskers kitten scratch mouse nap",
    "fish": "gills swim scales tank fins reef", "birds": "feathers nest sing wings beak fly",
}  # fmt: skip
ROWS = 1_500
MICRO = ScoreName.MICRO_F1


def texts(rows: int, *, seed: int) -> pl.DataFrame:
    """Sentences of words of their label, and of some of another: a model is right more often than not, and not always."""
    random = np.random.default_rng(seed)
    labels = random.choice(list(WORDS), rows)
    others = random.choice(list(WORDS), rows)
    words = [
        [*random.choice(WORDS[own].split(), 3), *random.choice(WORDS[other].split(), 2)]
        for own, other in zip(labels, others, strict=True)
    ]
    return pl.DataFrame({"text": [f"{' '.join(each)} {seed} {at}" for at, each in enumerate(words)], "label": labels})


def train(data: pl.DataFrame, folder: Path, version: str, *more: str, output: str | None = None, expect: int = 0) -> RunResult:
    data.write_parquet(folder / f"{version}.parquet")
    result = folder / f"{version}-result"
    labelwright(
        "train", "--dataset", str(folder / f"{version}.parquet"), "--text-columns", "text", "--label-column", "label",
        "--output-dir", output or str(folder / "models"), "--name", "pets", "--set", f"version={version}",
        "--set", "split.near_duplicates=1", "--set", f"result_file={result}", *more, expect=expect,
    )  # fmt: skip
    return RunResult.model_validate_json(result.read_bytes())


def manifest_of(folder: Path, version: str) -> Manifest:
    return verify(folder / "models/pets" / version)


def seen_by(folder: Path, version: str) -> TextProvenance:
    return TextProvenance.parse((folder / "models/pets" / version / "parts.bin").read_bytes(), where=version)


def hashes_of(folder: Path, version: str) -> np.ndarray:
    """Return the hashes of the texts of the version's dataset."""
    file = folder / f"{version}.parquet"
    count = len(pl.read_parquet(file))
    return near_duplicates.text_hashes(
        Examples(file, np.arange(count), ("any",), csr_matrix(np.ones((count, 1), np.uint8)), Task.SINGLE_LABEL)
    )


def gate_of(result: RunResult) -> GateRecord:
    assert result.gate is not None
    return result.gate


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which v1 is published, and served."""
    folder: Path = tmp_path_factory.mktemp("first")
    gate = gate_of(train(texts(ROWS, seed=0), folder, "v1"))
    assert gate.passed is None
    assert gate.served_scores == {}
    return folder


@pytest.fixture
def folder(first: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(first, tmp_path / "work"))


def served(folder: Path) -> tuple[str, str]:
    return "--set", f"gate.served_uri={folder / 'models/pets/v1'}"


def test_a_version_of_more_data_is_compared_on_texts_that_the_served_one_was_not_trained_on(folder: Path) -> None:
    data = pl.concat([texts(ROWS, seed=0), texts(ROWS, seed=1)])

    result = train(data, folder, "v2", *served(folder), "--seed", "5", "--set", "gate.tolerance=0.05")

    gate, before = gate_of(result), manifest_of(folder, "v1")
    assert (gate.passed, gate.served_version, gate.rule.tolerance) == (True, "v1", 0.05)
    assert gate.served_scores[MICRO] == pytest.approx(before.scores.test.micro_f1, abs=0.06)
    v1, v2 = seen_by(folder, "v1"), seen_by(folder, "v2")
    assert set(v2.tested.tolist()).isdisjoint(v1.trained.tolist())
    assert set(v1.tested.tolist()) <= set(v2.tested.tolist())
    assert len(v2.tested) == pytest.approx(2 * len(v1.tested), rel=0.1)
    assert "the served version v1: " in (folder / "models/pets/v2/report.html").read_text()
    again = train(data, folder, "v2", *served(folder), "--seed", "5", "--set", "gate.tolerance=0.05")
    assert gate_of(again) == gate  # as a Job's second Pod tells it, whose first one could not


def test_the_same_data_are_compared_on_the_same_test_part(folder: Path) -> None:
    gate = gate_of(train(texts(ROWS, seed=0), folder, "v2", *served(folder), "--seed", "9"))
    assert gate.served_scores[MICRO] == manifest_of(folder, "v1").scores.test.micro_f1
    assert seen_by(folder, "v2").tested.tolist() == seen_by(folder, "v1").tested.tolist()


def test_a_version_of_worse_data_does_not_pass_and_the_result_says_why(folder: Path) -> None:
    data = texts(ROWS, seed=0)
    trained = np.isin(hashes_of(folder, "v1"), seen_by(folder, "v1").trained)
    labels = data["label"].to_numpy().copy()
    labels[trained] = np.random.default_rng(0).permutation(labels[trained])

    result = train(data.with_columns(pl.Series("label", labels)), folder, "v2", *served(folder), "--set", "gate.minimum=0.1")

    gate = gate_of(result)
    assert gate.passed is False
    assert gate.served_scores[MICRO] == manifest_of(folder, "v1").scores.test.micro_f1
    assert result.exit_code == 0
    assert result.message.startswith("refused: ")
    assert f"behind the served version v1 ({gate.served_scores[MICRO]:.4f} on the same texts)" in result.message


def test_a_label_that_the_served_version_does_not_know_counts_as_missed_and_one_that_is_gone_is_ignored(folder: Path) -> None:
    old = texts(ROWS, seed=0)
    data = pl.concat([old.filter(pl.col("label") != "fish"), texts(600, seed=2).filter(pl.col("label") == "fish")])
    data = data.with_columns(pl.col("label").replace({"fish": "newts"}))

    gate = gate_of(train(data, folder, "v2", *served(folder)))

    assert 0.3 < gate.served_scores[MICRO] < gate.scores[MICRO]
    assert json.loads((folder / "models/pets/v2/served.json").read_text())["scores"]["per_label"]["newts"]["f1"] == 0


def gone(version: Path) -> None:
    shutil.rmtree(version)


def altered(version: Path) -> None:
    (version / "model.onnx").write_bytes((version / "model.onnx").read_bytes()[:-1] + b"?")


def altered_parts(version: Path) -> None:
    content = bytearray((version / "parts.bin").read_bytes())
    content[-1] ^= 1
    (version / "parts.bin").write_bytes(content)


def altered_manifest(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["thresholds"] = [0.001] * len(manifest["thresholds"])
    (version / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("harm", [gone, altered, altered_parts, altered_manifest])
def test_a_served_version_that_cannot_be_read_is_noted_and_the_minimum_decides_alone(
    folder: Path, harm: Callable[[Path], None]
) -> None:
    published = file_entry(folder / "models/pets/v1/manifest.json").sha256
    harm(folder / "models/pets/v1")
    vouched = ("--set", f"gate.served_manifest_sha256={published}")
    result = train(texts(ROWS, seed=0), folder, "v2", *served(folder), *vouched, "--set", "gate.minimum=0.2")
    gate = gate_of(result)
    assert (gate.passed, gate.served_version, gate.served_scores) == (True, None, {})
    notes = manifest_of(folder, "v2").dataset.notes
    assert [note for note in notes if note.startswith("the served version cannot be read, and nothing is compared with it")]
    assert gate.not_compared is not None
    assert result.message == (
        f"passes: micro-f1 {gate.scores[MICRO]:.4f} reaches gate.minimum 0.2, was not compared with the served version, which "
        f"could not be read: {gate.not_compared}"
    )


def test_a_served_version_of_an_older_release_is_compared_with_a_note(folder: Path) -> None:
    v1 = folder / "models/pets/v1"
    manifest = json.loads((v1 / "manifest.json").read_text())
    del manifest["files"]["parts.bin"]
    (v1 / "manifest.json").write_text(json.dumps(manifest))
    (v1 / "parts.bin").unlink()

    gate = gate_of(train(texts(ROWS, seed=0), folder, "v2", *served(folder)))

    assert gate.served_scores
    notes = manifest_of(folder, "v2").dataset.notes
    assert [note for note in notes if "v1 does not list the texts that it was trained on" in note]


def test_with_a_given_test_set_both_are_scored_on_it(folder: Path) -> None:
    test = folder / "test.parquet"
    texts(400, seed=7).write_parquet(test)
    gate = gate_of(train(texts(ROWS, seed=3), folder, "v2", *served(folder), "--test-dataset", str(test)))
    assert gate.served_scores[MICRO] == pytest.approx(gate.scores[MICRO], abs=0.1)
    assert len(seen_by(folder, "v2").tested) == 400
    assert len(seen_by(folder, "v2").trained) == ROWS


def test_a_served_version_in_s3_is_read_from_there(tmp_path: Path, s3_bucket: str) -> None:
    train(texts(600, seed=0), tmp_path, "v1", output=f"{s3_bucket}models")
    more = ("--set", f"gate.served_uri={s3_bucket}models/pets/v1/")
    gate = gate_of(train(texts(600, seed=0), tmp_path, "v2", *more, output=f"{s3_bucket}models"))
    assert (gate.passed, gate.served_version) == (True, "v1")


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        pytest.param("ftp://x/v1/", 64, id="no-storage"),
        pytest.param("s3://no-such-bucket-here/pets/v1/", 64, id="no-bucket"),
    ],
)
def test_an_address_that_can_be_no_version_is_a_wrong_setting(uri: str, code: int, folder: Path, s3_bucket: str) -> None:
    result = train(texts(ROWS, seed=0), folder, "v2", "--set", f"gate.served_uri={uri}", expect=code)
    assert result.message.startswith("gate.served_uri: ")


def test_a_storage_that_is_away_is_tried_again(folder: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    train(texts(300, seed=0), folder, "v2", "--set", f"gate.served_uri={s3_bucket}pets/v1/", expect=75)
