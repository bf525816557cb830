"""Faults of trainings and balancing: each ends soon, with its exit code and one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from tests.support.attempts import TrainingProcess, make_dataset
from tests.support.commands import labelwright
from tests.support.encoders import write_tiny_bert

CGROUPS = Path("/sys/fs/cgroup/memory")
GIGABYTE = 10**9


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_dataset(tmp_path)
    return tmp_path


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A control group of 2 GB, on machines that have version 1 of them and let us make one."""
    group = CGROUPS / f"labelwright-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(2 * GIGABYTE))
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    group.rmdir()


@pytest.mark.parametrize("place", ["a-folder-that-is-not-there/result", "."])
def test_a_result_file_that_cannot_be_written_is_found_before_anything_is_published(folder: Path, bert: Path, place: str) -> None:
    attempt = TrainingProcess(folder, bert=bert, training__architecture="linear", result_file=folder / place)
    assert attempt.end() == 64
    assert "result_file" in attempt.log_file.read_text()
    assert "Traceback" not in attempt.log_file.read_text()
    assert not (folder / "models/pets/v1/manifest.json").exists()


def test_a_result_file_that_cannot_be_written_does_not_hide_what_is_wrong_with_the_settings(folder: Path, bert: Path) -> None:
    attempt = TrainingProcess(folder, bert=bert, result_file=folder / "not-there/result", training__seed="many")
    assert attempt.end() == 64
    assert "training.seed is 'many'" in attempt.log_file.read_text()
    assert "Traceback" not in attempt.log_file.read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"training__seed": "many"}, id="a value"),
        pytest.param({"traning__seed": "1"}, id="a name"),
        pytest.param({"training__seed": "[1"}, id="YAML"),
    ],
)
def test_the_log_of_settings_that_are_refused_is_json_in_one_sentence(folder: Path, bert: Path, wrong: dict[str, str]) -> None:
    attempt = TrainingProcess(folder, bert=bert, **wrong)
    assert attempt.end() == 64
    assert "\n" not in attempt.result().message
    assert [each["message"] for each in attempt.lines()] == [attempt.result().message]


def test_a_variable_that_sets_a_whole_section_to_a_number_is_named(folder: Path, bert: Path) -> None:
    attempt = TrainingProcess(folder, bert=bert, training="5")
    assert attempt.end() == 64
    assert "--set" not in attempt.result().message
    assert "training" in attempt.result().message.lower()


def test_a_section_of_the_settings_file_may_be_empty(folder: Path) -> None:
    settings = folder / "settings.yaml"
    settings.write_text("training:\n  # seed: 1\n")
    labelwright(
        "train", "--config", str(settings), "--dataset", str(folder / "pets.parquet"), "--text-columns", "text",
        "--label-column", "label", "--output-dir", str(folder / "models"), "--architecture", "linear",
    )  # fmt: skip


def test_a_base_model_that_was_mistyped_can_be_mended_under_the_same_version(folder: Path, bert: Path) -> None:
    mistyped = TrainingProcess(folder, bert=bert.with_name("brt"))
    assert mistyped.end() == 64
    mended = TrainingProcess(folder, bert=bert, training__num_epochs=1)
    assert mended.end() == 0, mended.result().message


def test_a_training_that_is_killed_while_exporting_and_publishing_is_published_once_and_leaves_nothing(
    folder: Path, bert: Path, s3_bucket: str
) -> None:
    output = f"{s3_bucket}models"
    for moment in ("the exported model", "publishing"):
        killed = TrainingProcess(folder, bert=bert, output_dir=output, training__num_epochs=2)
        killed.wait_for(moment)
        killed.signal(signal.SIGKILL)
        assert killed.end() == -signal.SIGKILL
    last = TrainingProcess(folder, bert=bert, output_dir=output, training__num_epochs=2)
    assert last.end() == 0
    uri = f"{output}/pets/v1/"
    assert last.result().artifact_uri == uri
    assert json.loads(labelwright("predict", uri, "--", "a gills swim").stdout)["labels"]
    checkpoints = _keys(f"{output}/checkpoints/")
    assert checkpoints == []


def test_a_batch_that_does_not_fit_into_the_container_is_halved_and_the_version_published(
    folder: Path, small_memory: Path
) -> None:
    words = [f"{word}{number}" for number in range(40) for word in ("matter", "energy", "proof", "lemma", "star")]
    texts = [" ".join(words[at:] + words[:at]) for at in range(100)]
    pl.DataFrame({"text": texts, "label": ["a", "b"] * 50}).write_parquet(folder / "pets.parquet")
    settings = {"VERSION": "v1", "NAME": "pets", "OUTPUT_DIR": folder / "models", "RESULT_FILE": folder / "result"}
    variables = {f"LABELWRIGHT__{name}": str(value) for name, value in settings.items()}
    command = [
        sys.executable, "-m", "labelwright", "train", "--dataset", str(folder / "pets.parquet"), "--text-columns", "text",
        "--label-column", "label", "--architecture", "transformer", "--base-model", "minilm", "--num-epochs", "1",
        "--set", "training.batch_size=40", "--set", "training.evaluations_per_epoch=1", "--set", "split.near_duplicates=1",
    ]  # fmt: skip
    entered = ["sh", "-c", f'echo $$ > {small_memory}/tasks && exec "$@"', "sh", *command]
    done = subprocess.run(
        entered, env={**os.environ, "OMP_NUM_THREADS": "1", **variables}, capture_output=True, text=True, check=False, timeout=240
    )
    assert "out of memory with 40 texts at once: each step is now computed in 2 pieces" in done.stderr
    assert done.returncode == 0, done.stderr
    assert (folder / "models/pets/v1/manifest.json").exists()


def test_a_threshold_beyond_every_number_of_rows_is_refused_or_drops_nothing(folder: Path) -> None:
    arguments = ("--threshold", "99999999999999999999", "--label-column", "label")
    command = [sys.executable, "-m", "labelwright", "undersample", str(folder / "pets.parquet"), str(folder / "out.parquet")]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode in {0, 64}, done.stderr
    assert "Traceback" not in done.stderr


def test_undersampling_keeps_every_kind_of_text_as_it_is_and_the_same_seed_gives_the_same_bytes(folder: Path) -> None:
    kinds = ['a "quoted", text\nover two lines', "cat 🐈‍⬛ é", "nul \x00 in it", "=1+1", "  spaces  "]
    rows = [{"id": at, "text": f"{kinds[at % 5]} {at}", "label": "rare" if at % 4 == 0 else "often"} for at in range(200)]
    given = pl.DataFrame(rows)
    given.write_csv(folder / "in.csv")
    for name in ("one.csv", "two.csv"):
        labelwright("undersample", str(folder / "in.csv"), str(folder / name), "--label-column", "label", "--threshold", "60")
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()
    kept = pl.read_csv(folder / "one.csv")
    assert 0 < len(kept) < len(given)
    assert kept.equals(given.filter(pl.col("id").is_in(kept["id"].implode())))


def _keys(uri: str) -> list[str]:
    from model.storage import open_store

    return [each.key for each in open_store(uri).list()]
