"""Corrections by people, from their files to a better version: the command as a user types it, and as a Job's Pod runs it."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from model.artifact import verify
from model.corrections import Correction
from model.gate import GateRecord
from model.manifest import LearntCorrections, Manifest, Task
from model.run_result import RunResult
from model.storage import open_store
from tests.support.attempts import TrainingProcess, make_dataset
from tests.support.commands import labelwright
from tests.support.corrections import correction, store
from tests.support.encoders import write_tiny_bert
from trainer.config.settings import DatasetConfig
from trainer.data.examples import Examples
from trainer.evaluation.rescore import rescore
from trainer.split import near_duplicates
from trainer.split.provenance import TextProvenance

WORDS = {
    "dogs": "bark fetch puppy leash kennel howl", "cats": "purr whiskers kitten scratch mouse nap",
    "fish": "gills swim scales tank fins reef", "birds": "feathers nest sing wings beak fly",
}  # fmt: skip
OWLS = "owl hoot dusk talons rotate silent"  # birds, which the dataset calls fish
NEWTS = "newt pond crest larva toad damp"  # of which the dataset has none


def ordinary(count: int, *, seed: int) -> pl.DataFrame:
    """Sentences of words of their label, and of some of another: a model is right more often than not, and not always."""
    random = np.random.default_rng(seed)
    own, other = random.choice(list(WORDS), count), random.choice(list(WORDS), count)
    texts = [
        " ".join(
            [*random.choice(WORDS[one].split(), random.integers(2, 4)), *random.choice(WORDS[two].split(), 2), f"{seed} {at}"]
        )
        for at, (one, two) in enumerate(zip(own, other, strict=True))
    ]
    return pl.DataFrame({"text": texts, "label": own})


def about(words: str, label: str, count: int, *, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    texts = [f"{' '.join(random.choice(words.split(), 5))} {seed} {at}" for at in range(count)]
    return pl.DataFrame({"text": texts, "label": [label] * count})


def corrections_of(rows: pl.DataFrame, *, at: float = 0) -> list[Correction]:
    return [correction(text, label, at=at + number) for number, (text, label) in enumerate(rows.iter_rows())]


def train(folder: Path, version: str, *more: str, expect: int = 0) -> RunResult:
    result = folder / f"{version}-result"
    labelwright(
        "train", "--dataset", str(folder / "data.parquet"), "--text-columns", "text", "--label-column", "label",
        "--output-dir", str(folder / "models"), "--name", "pets", "--set", f"version={version}",
        "--set", "split.near_duplicates=1", "--set", f"result_file={result}", *more, expect=expect,
    )  # fmt: skip
    return RunResult.model_validate_json(result.read_bytes())


def with_corrections(folder: Path) -> tuple[str, str]:
    return "--set", f"dataset.corrections={folder / 'feedback/pets'}"


def manifest_of(folder: Path, version: str) -> Manifest:
    return verify(folder / "models/pets" / version)


def learnt_of(manifest: Manifest) -> LearntCorrections:
    assert manifest.dataset.corrections is not None
    return manifest.dataset.corrections


def gate_of(result: RunResult) -> GateRecord:
    assert result.gate is not None
    return result.gate


def micro_f1(folder: Path, version: str, rows: pl.DataFrame, scratch: Path) -> float:
    """Score the version on these rows, as `labelwright evaluate` does."""
    scratch.mkdir()
    rows.write_parquet(scratch / "rows.parquet")
    config = DatasetConfig(uri=str(scratch / "rows.parquet"), text_columns=("text",), label_columns=("label",))
    return float(rescore(str(folder / "models/pets" / version), config, scratch=scratch).result["scores"]["test"]["micro_f1"])


def hashes_of(texts: Iterable[str], file: Path) -> set[int]:
    """Return hashes of the texts, as a version lists those that it has seen."""
    rows = pl.DataFrame({"text": list(texts)})
    rows.write_parquet(file)
    targets = csr_matrix(np.ones((len(rows), 1), np.uint8))
    return set(near_duplicates.text_hashes(Examples(file, np.arange(len(rows)), ("any",), targets, Task.SINGLE_LABEL)).tolist())


def seen_by(folder: Path, version: str) -> tuple[set[int], set[int]]:
    """Return the hashes of the texts that the version was trained on, and of those that it was tested on."""
    content = (folder / "models/pets" / version / "parts.bin").read_bytes()
    seen = TextProvenance.parse(content, where=version)
    return set(seen.trained.tolist()), set(seen.tested.tolist())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with v1, which was trained without corrections, and v2, which was trained with them and compared with v1."""
    folder: Path = tmp_path_factory.mktemp("pets")
    owls = about(OWLS, "fish", 90, seed=1)
    pl.concat([ordinary(1_200, seed=0), owls]).write_parquet(folder / "data.parquet")
    train(folder, "v1")
    store(folder, corrections_of(owls.with_columns(label=pl.lit("birds"))))
    newts = about(NEWTS, "newts", 60, seed=2)
    store(folder, corrections_of(newts.with_columns(label=pl.lit("cats")), at=1_000))
    store(folder, corrections_of(newts, at=2_000))  # people thought again
    train(folder, "v2", *with_corrections(folder), "--set", f"gate.served_uri={folder / 'models/pets/v1'}")
    return folder


def test_a_version_with_corrections_is_better_on_the_corrected_texts_and_no_worse_on_the_rest(
    folder: Path, tmp_path: Path
) -> None:
    corrected = pl.concat([about(OWLS, "birds", 90, seed=1), about(NEWTS, "newts", 60, seed=2)])
    alike = pl.concat([about(OWLS, "birds", 90, seed=3), about(NEWTS, "newts", 60, seed=4)])
    rest = ordinary(2_000, seed=5)

    before, after = (
        [
            micro_f1(folder, version, rows, tmp_path / f"{version}-{number}")
            for number, rows in enumerate((corrected, alike, rest))
        ]
        for version in ("v1", "v2")
    )

    assert before[0] < 0.1
    assert after[0] > 0.9
    assert after[1] > before[1] + 0.8  # also on texts that no correction is about
    assert 0.6 < before[2] < 0.95
    assert after[2] > before[2] - 0.01, (before, after)


def test_the_numbers_are_in_the_manifest_and_the_report(folder: Path) -> None:
    manifest = manifest_of(folder, "v2")
    learnt = learnt_of(manifest)
    assert (learnt.files, learnt.rows, learnt.texts, learnt.corrected, learnt.added) == (3, 210, 150, 90, 60)
    assert 0 < learnt.tested < 30
    assert manifest.labels == ("birds", "cats", "dogs", "fish", "newts")
    assert sum(manifest.training.examples.values()) == 1_200 + 90 + 60
    report = (folder / "models/pets/v2/report.html").read_text()
    assert "150 texts, of which 90 of the dataset corrected" in report
    assert "corrections: 210 rows in 3 files, for 150 texts: 90 of the dataset corrected, 60 added, 0 left out" in report
    result = RunResult.model_validate_json((folder / "v2-result").read_bytes())
    assert result.dataset_sha256 == learnt.dataset_sha256 == manifest_of(folder, "v1").dataset.sha256
    assert manifest.dataset.sha256 != result.dataset_sha256


def test_no_added_text_is_in_the_part_that_the_gate_compares_on_and_corrected_ones_stay_there(
    folder: Path, tmp_path: Path
) -> None:
    trained_before, tested_before = seen_by(folder, "v1")
    trained, tested = seen_by(folder, "v2")
    owls = hashes_of(about(OWLS, "birds", 90, seed=1)["text"], tmp_path / "owls")
    newts = hashes_of(about(NEWTS, "newts", 60, seed=2)["text"], tmp_path / "newts")
    assert tested == tested_before
    assert newts <= trained
    assert not trained & tested
    assert not trained_before & tested
    assert len(owls & tested) == learnt_of(manifest_of(folder, "v2")).tested
    served = gate_of(RunResult.model_validate_json((folder / "v2-result").read_bytes()))
    assert served.served_version == "v1"
    assert served.passed is not None


def test_texts_that_the_served_version_was_tested_on_are_not_learnt_from_corrections_of_a_variant(
    folder: Path, tmp_path: Path
) -> None:
    """Somebody corrects, in other cases and punctuation, every text of the dataset: so those of the test part, too."""
    data = pl.read_parquet(folder / "data.parquet")
    store(tmp_path, corrections_of(data.with_columns(pl.col("text").str.to_uppercase() + "!")))
    settings = ("--set", f"dataset.corrections={tmp_path / 'feedback/pets'}")
    train(folder, "v3", *settings, "--set", f"gate.served_uri={folder / 'models/pets/v1'}")
    learnt, (trained, tested) = learnt_of(manifest_of(folder, "v3")), seen_by(folder, "v3")
    assert learnt.corrected == 0
    assert learnt.left_out == manifest_of(folder, "v3").training.examples["test"] > 0
    assert learnt.added == len(data) - learnt.left_out
    assert not trained & tested
    assert tested == seen_by(folder, "v1")[1]


def test_a_cut_file_in_s3_ends_the_training_with_its_key(s3_bucket: str, folder: Path, tmp_path: Path) -> None:
    file = store(tmp_path, [correction("text", "cats")])
    name = file.relative_to(tmp_path / "feedback/pets").as_posix()
    open_store(f"{s3_bucket}feedback/pets").write(name, file.read_bytes()[:-5])
    result = train(folder, "v4", "--set", f"dataset.corrections={s3_bucket}feedback/pets/", expect=65)
    assert result.message.startswith(f"dataset.corrections '{s3_bucket}feedback/pets/': {name}: cut off after ")


def test_a_training_that_is_resumed_learns_the_corrections_that_it_began_with_and_notices_changed_ones(tmp_path: Path) -> None:
    bert = write_tiny_bert(tmp_path / "bert")
    make_dataset(tmp_path)
    began_with = store(tmp_path, [correction("bark bark bark", "dogs")])
    settings = {"bert": bert, "dataset__corrections": str(tmp_path / "feedback/pets"), "training__num_epochs": 4}
    first = TrainingProcess(tmp_path, **settings)  # type: ignore[arg-type]
    first.wait_for("saved a checkpoint")
    first.signal(signal.SIGTERM)
    assert first.end() == 143

    store(tmp_path, [correction("purr purr", "cats", at=1)])
    content = began_with.read_bytes()
    began_with.unlink()
    gone = TrainingProcess(tmp_path, **settings)  # type: ignore[arg-type]
    assert gone.end() == 65
    assert "does not exist any more, and version 'v1' was begun with it" in gone.result().message

    began_with.write_bytes(content)
    resumed = TrainingProcess(tmp_path, **settings)  # type: ignore[arg-type]
    assert resumed.end() == 0
    assert "resuming at step" in resumed.log_file.read_text()
    assert "1 file of corrections came after version v1 was begun" in resumed.log_file.read_text()
    assert (learnt_of(resumed.manifest()).files, learnt_of(resumed.manifest()).added) == (1, 1)
