from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.artifact import describe, publish, read_manifest
from model.manifest import Dataset, Manifest
from model.storage import ObjectExists, open_store
from tests.support.versions import make_version
from trainer.config.settings import Config
from trainer.errors import ConfigRejected, DatasetRejected
from trainer.run.checkpoint_store import Checkpoints
from trainer.run.identity import RECORD, Run, begin, find_published, result_settings, settings_sha256

SHA, OTHER_SHA = "0" * 64, "1" * 64
EARLIER, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)


def config_in(folder: Path | str, **settings: object) -> Config:
    return Config.model_validate({"name": "papers", "output_dir": str(folder), **settings})


def leave_checkpoint(run: Run, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "weights").write_text("half trained")
    Checkpoints(run.store).save(folder, step=10, best_step=10)


def test_a_runs_files_are_separate_from_published_ones(tmp_path: Path) -> None:
    run = begin(config_in(tmp_path / "models", version="v1"), dataset_sha256=SHA, now=NOW)
    leave_checkpoint(run, tmp_path / "local")
    assert (tmp_path / "models/checkpoints/papers/v1" / RECORD).is_file()
    assert (tmp_path / "models/checkpoints/papers/v1/000000010/index.json").is_file()


def test_a_later_attempt_finds_the_checkpoints_of_the_version(s3_bucket: str, tmp_path: Path) -> None:
    config = config_in(f"{s3_bucket}models", version="v1")
    leave_checkpoint(begin(config, dataset_sha256=SHA, now=EARLIER), tmp_path / "local")
    found = Checkpoints(begin(config, dataset_sha256=SHA, now=NOW).store).latest(tmp_path / "restored")
    assert found is not None
    assert found.step == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"training": {"learning_rate": 0.5}}, "training.learning_rate was 0.0001, is 0.5", id="a-setting"),
        pytest.param({"balance": {"loss": "focal"}}, "balance.loss was 'plain', is 'focal'", id="balance"),
        pytest.param({"dataset": {"aliases": {"a": "b"}}}, "dataset.aliases was {}, is {'a': 'b'}", id="what-the-data-mean"),
    ],
)
def test_a_version_that_was_begun_with_another_configuration_is_refused_by_the_field(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    leave_checkpoint(begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=EARLIER), tmp_path / "local")
    with pytest.raises(ConfigRejected) as refused:
        begin(config_in(tmp_path, version="v1", **settings), dataset_sha256=SHA, now=NOW)
    assert message in str(refused.value)


def test_settings_that_saved_nothing_may_be_mended(tmp_path: Path) -> None:
    begin(config_in(tmp_path, version="v1", training={"seed": 1}), dataset_sha256=SHA, now=EARLIER)
    leave_checkpoint(begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=NOW), tmp_path / "local")
    begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=NOW)


@pytest.mark.parametrize("record", [None, b'{"of": "another release"}'])
def test_checkpoints_without_a_valid_record_are_not_resumed(
    record: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=EARLIER)
    leave_checkpoint(run, tmp_path / "local")
    run.store.write(RECORD, record) if record else run.store.delete(RECORD)
    again = begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=NOW)
    assert Checkpoints(again.store).latest(tmp_path / "restored") is None
    assert "not resumed" in caplog.text


def test_a_dataset_that_changed_between_attempts_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path, version="v1")
    begin(config, dataset_sha256=SHA, now=EARLIER)
    with pytest.raises(DatasetRejected, match=f"was {SHA}, is {OTHER_SHA}"):
        begin(config, dataset_sha256=OTHER_SHA, now=NOW)


def test_a_test_set_that_changed_between_attempts_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path, version="v1", dataset={"test_uri": "test.csv"})
    begin(config, dataset_sha256=SHA, test_sha256=SHA, now=EARLIER)
    with pytest.raises(DatasetRejected, match=r"dataset.test_uri is 'test.csv'"):
        begin(config, dataset_sha256=SHA, test_sha256=OTHER_SHA, now=NOW)


def test_corrections_that_changed_between_attempts_are_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path, version="v1", dataset={"corrections": "s3://feedback/papers/"})
    begin(config, dataset_sha256=SHA, corrections_sha256=SHA, now=EARLIER)
    begin(config, dataset_sha256=SHA, corrections_sha256=SHA, now=NOW)
    for changed in (OTHER_SHA, None):
        with pytest.raises(DatasetRejected, match=r"dataset.corrections is 's3://feedback/papers/': its content has changed"):
            begin(config, dataset_sha256=SHA, corrections_sha256=changed, now=NOW)


def test_an_interrupted_run_with_other_corrections_is_not_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    config = config_in(tmp_path, dataset={"corrections": "s3://feedback/papers/"})
    leave_checkpoint(begin(config, dataset_sha256=SHA, corrections_sha256=SHA, now=EARLIER), tmp_path / "local")
    assert begin(config, dataset_sha256=SHA, corrections_sha256=SHA, now=NOW).version == "20260101-000000"
    assert begin(config, dataset_sha256=SHA, corrections_sha256=OTHER_SHA, now=NOW).version == "20260102-000000"
    assert "is not resumed: the corrections have changed" in caplog.text


def test_a_served_version_that_is_gone_between_attempts_is_refused_where_its_word_was_trained_on(tmp_path: Path) -> None:
    config = config_in(tmp_path, version="v1", gate={"served_uri": "s3://m/papers/v0/"})
    first = begin(config, dataset_sha256=SHA, seen_sha256=SHA, now=EARLIER)
    begin(config, dataset_sha256=SHA, seen_sha256=OTHER_SHA, now=EARLIER)
    leave_checkpoint(first, tmp_path / "local")
    with pytest.raises(DatasetRejected, match=r"gate.served_uri is 's3://m/papers/v0/'"):
        begin(config, dataset_sha256=SHA, seen_sha256=None, now=NOW)


def test_a_served_version_that_another_training_was_compared_with_makes_it_another_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = config_in(tmp_path, gate={"served_uri": "s3://m/papers/v0/"})
    leave_checkpoint(begin(config, dataset_sha256=SHA, seen_sha256=SHA, now=EARLIER), tmp_path / "local")
    assert begin(config, dataset_sha256=SHA, seen_sha256=SHA, now=NOW).version == "20260101-000000"
    assert begin(config, dataset_sha256=SHA, seen_sha256=None, now=NOW).version == "20260102-000000"
    assert begin(config_in(tmp_path), dataset_sha256=SHA, now=NOW).version == "20260102-000000"
    assert "gate.served_uri was 's3://m/papers/v0/', is None" in caplog.text


def test_from_scratch_ignores_checkpoints(tmp_path: Path) -> None:
    config = config_in(tmp_path, version="v1")
    leave_checkpoint(begin(config, dataset_sha256=SHA, now=EARLIER), tmp_path / "local")
    again = config_in(tmp_path, version="v1", training={"from_scratch": True, "seed": 7})
    run = begin(again, dataset_sha256=OTHER_SHA, now=NOW)
    assert Checkpoints(run.store).latest(tmp_path / "restored") is None


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"training": {"architecture": "linear"}}, id="the-architectures-that-are-tried"),
        pytest.param({"dataset": {"uri": "file:///elsewhere"}}, id="the-same-content-elsewhere"),
        pytest.param({"progress": {"log_format": "json"}}, id="what-it-tells"),
    ],
)
def test_what_does_not_change_a_half_trained_model_does_not_stop_it(settings: dict[str, object], tmp_path: Path) -> None:
    begin(config_in(tmp_path, version="v1"), dataset_sha256=SHA, now=EARLIER)
    begin(config_in(tmp_path, version="v1", **settings), dataset_sha256=SHA, now=NOW)


def test_without_a_version_the_interrupted_run_of_the_same_settings_goes_on(tmp_path: Path) -> None:
    first = begin(config_in(tmp_path), dataset_sha256=SHA, now=EARLIER)
    leave_checkpoint(first, tmp_path / "local")
    assert begin(config_in(tmp_path), dataset_sha256=SHA, now=NOW).version == first.version == "20260101-000000"


def test_a_run_that_saved_nothing_is_not_gone_on_with(tmp_path: Path) -> None:
    begin(config_in(tmp_path), dataset_sha256=SHA, now=EARLIER)
    assert begin(config_in(tmp_path), dataset_sha256=SHA, now=NOW).version == "20260102-000000"


def test_without_a_version_another_training_is_left_alone_and_the_difference_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = begin(config_in(tmp_path), dataset_sha256=SHA, now=EARLIER)
    leave_checkpoint(first, tmp_path / "local")
    run = begin(config_in(tmp_path, training={"seed": 7}), dataset_sha256=SHA, now=NOW)
    assert run.version == "20260102-000000"
    assert "training.seed was 0, is 7" in caplog.text
    assert Checkpoints(first.store).latest(tmp_path / "restored") is not None


def test_a_run_that_is_forgotten_leaves_nothing_and_all_of_others(tmp_path: Path) -> None:
    mine, other = (begin(config_in(tmp_path, version=each), dataset_sha256=SHA, now=NOW) for each in ("v1", "v10"))
    leave_checkpoint(mine, tmp_path / "local")
    mine.forget()
    assert [each.key for each in open_store(f"{tmp_path}/checkpoints/papers").list()] == [f"v10/{RECORD}"]
    assert other.version == "v10"


def test_the_hash_of_the_settings_tells_what_is_published_apart(tmp_path: Path) -> None:
    ours = settings_sha256(config_in(tmp_path))
    assert ours == settings_sha256(config_in("elsewhere", version="v2", training={"from_scratch": True}))
    assert ours != settings_sha256(config_in(tmp_path, linear={"penalty": 0.25}))
    assert ours != settings_sha256(config_in(tmp_path, training={"architecture": "linear"}))
    assert ours != settings_sha256(config_in(tmp_path, gate={"served_uri": "s3://m/papers/v0/"}))


def test_what_the_gate_asks_for_changes_nothing_of_what_is_published(tmp_path: Path) -> None:
    asked = config_in(tmp_path, gate={"minimum": 0.9, "score": "macro-f1", "tolerance": 0})
    assert settings_sha256(asked) == settings_sha256(config_in(tmp_path))
    assert not [name for name in result_settings(asked) if name.startswith("gate.")]


OLD, NEW = "s3://texts/old/", "s3://texts/new/"


def publish_as(config: Config, folder: Path) -> Manifest:
    """A version, as a training of this configuration leaves it."""
    made = read_manifest(make_version(folder, version=config.version or ""))
    training = made.training.model_copy(update={"settings_sha256": settings_sha256(config)})
    test = {"uri": config.dataset.test_uri, "sha256": SHA, "rows": 1} if config.dataset.test_uri else None
    dataset = Dataset.model_validate({**made.dataset.model_dump(), "uri": config.dataset.uri, "test": test})
    manifest = made.model_copy(update={"training": training, "dataset": dataset, "files": describe(folder)})
    publish(folder, manifest, open_store(f"{config.output_dir}/papers/{config.version}/"))
    return manifest


def test_what_an_earlier_attempt_has_published_is_found(tmp_path: Path) -> None:
    config = config_in(tmp_path / "models", version="v1", dataset={"uri": OLD, "test_uri": "s3://texts/test/"})
    assert find_published(config) is None
    published = publish_as(config, tmp_path / "local")
    assert find_published(config).manifest == published


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"training": {"seed": 7}}, "is already published, with other settings", id="a-setting"),
        pytest.param({"dataset": {"uri": NEW}}, f"dataset.uri was {OLD!r}, is {NEW!r}", id="another-dataset"),
        pytest.param({"dataset": {"uri": OLD, "test_uri": NEW}}, f"dataset.test_uri was None, is {NEW!r}", id="another-test-set"),
        pytest.param(
            {"dataset": {"uri": OLD, "corrections": NEW}}, f"dataset.corrections was None, is {NEW!r}", id="other-corrections"
        ),
    ],
)
def test_a_version_of_other_settings_is_not_reported_as_this_one(
    settings: dict[str, object], message: str, tmp_path: Path
) -> None:
    of_before: dict[str, object] = {"dataset": {"uri": OLD}}
    publish_as(config_in(tmp_path / "models", version="v1", **of_before), tmp_path / "local")
    with pytest.raises(ObjectExists) as refused:
        find_published(config_in(tmp_path / "models", version="v1", **of_before | settings))
    assert message in str(refused.value)
    assert "a version never changes" in str(refused.value)
