from __future__ import annotations

import logging
from pathlib import Path

import pytest

from model.storage import FileStore
from trainer.checkpoints import INDEX, Checkpoints, describe_run, differences, fingerprint
from trainer.config import Config

SHA = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def write_step(folder: Path, content: str) -> Path:
    folder.mkdir()
    (folder / "weights").write_text(content)
    (folder / "state").write_text(f"state of {content}")
    return folder


def save_steps(checkpoints: Checkpoints, tmp_path: Path, steps: list[int], *, best_step: int | None = None) -> None:
    for step in steps:
        checkpoints.save(write_step(tmp_path / f"local-{step}", f"step {step}"), step=step, best_step=best_step or step)


def stored_steps(store: FileStore) -> list[int]:
    return sorted(int(each.key.split("/")[1]) for each in store.list() if each.key.endswith(INDEX))


def test_there_is_no_checkpoint_at_first(store: FileStore, tmp_path: Path) -> None:
    assert Checkpoints(store, {"seed": 1}).latest(tmp_path / "restored") is None


def test_the_newest_checkpoint_comes_back_as_it_was(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, {"seed": 1})
    save_steps(checkpoints, tmp_path, [10, 20])
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, found.best_step) == (20, 20)
    assert (found.folder / "weights").read_text() == "step 20"


def test_checkpoints_are_kept_in_s3(s3_bucket: str, tmp_path: Path) -> None:
    config = Config.model_validate({"name": "papers", "output_dir": s3_bucket})
    save_steps(Checkpoints.of(config, dataset_sha256=SHA), tmp_path, [10, 20, 30], best_step=10)
    found = Checkpoints.of(config, dataset_sha256=SHA).latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, (found.best / "weights").read_text()) == (30, "step 10")


def test_two_checkpoints_and_the_best_are_kept(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, {"seed": 1})
    save_steps(checkpoints, tmp_path, [10, 20, 30, 40], best_step=10)
    found = checkpoints.latest(tmp_path / "restored")
    assert stored_steps(store) == [10, 30, 40]
    assert found is not None
    assert (found.best / "weights").read_text() == "step 10"


def test_a_half_uploaded_checkpoint_is_invisible(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, {"seed": 1})
    save_steps(checkpoints, tmp_path, [10, 20])
    index = next(each.key for each in store.list() if each.key.endswith(f"20/{INDEX}"))
    store.delete(index)
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert found.step == 10


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_checkpoint_is_passed_over(
    damage: str, store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(store, {"seed": 1})
    save_steps(checkpoints, tmp_path, [10, 20])
    weights = next(each.key for each in store.list() if each.key.endswith("20/weights"))
    store.write(weights, b"step 2?") if damage == "altered" else store.delete(weights)
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert found.step == 10
    assert "step 20" in caplog.text


def test_a_lost_best_checkpoint_leaves_the_newest(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store, {"seed": 1})
    save_steps(checkpoints, tmp_path, [10, 20], best_step=10)
    for each in list(store.list()):
        if "/000000010/" in each.key:
            store.delete(each.key)
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, found.best_step) == (20, 20)


def test_clearing_leaves_nothing_of_this_training_and_all_of_others(store: FileStore, tmp_path: Path) -> None:
    mine, other = Checkpoints(store, {"seed": 1}), Checkpoints(store, {"seed": 2})
    save_steps(mine, tmp_path, [10])
    save_steps(other, tmp_path, [30])
    mine.clear()
    assert mine.latest(tmp_path / "mine") is None
    assert other.latest(tmp_path / "other") is not None


def test_a_training_of_another_configuration_is_not_resumed_and_the_difference_is_named(
    store: FileStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    save_steps(Checkpoints(store, describe_run(Config(), SHA)), tmp_path, [10])
    changed = Config.model_validate({"training": {"learning_rate": 0.5}})
    found = Checkpoints(store, describe_run(changed, SHA)).latest(tmp_path / "restored")
    assert found is None
    assert f"training.learning_rate was {Config().training.learning_rate}, is 0.5" in caplog.text


def test_another_dataset_is_another_training() -> None:
    assert differences(describe_run(Config(), "a"), describe_run(Config(), "b")) == ["dataset.sha256 was 'a', is 'b'"]


@pytest.mark.parametrize(
    "setting",
    [
        pytest.param({"training": {"from_scratch": True}}, id="from-scratch"),
        pytest.param({"training": {"architecture": "linear"}}, id="the-other-architectures-that-are-tried"),
        pytest.param({"dataset": {"uri": "file:///elsewhere"}}, id="the-same-content-elsewhere"),
        pytest.param({"version": "v2"}, id="version"),
    ],
)
def test_what_does_not_change_the_result_does_not_change_the_fingerprint(setting: dict[str, object]) -> None:
    changed = Config.model_validate(setting)
    assert fingerprint(describe_run(changed, SHA)) == fingerprint(describe_run(Config(), SHA))


def test_checkpoints_lie_beside_the_versions(tmp_path: Path) -> None:
    config = Config.model_validate({"name": "papers", "output_dir": f"file://{tmp_path}/models/"})
    save_steps(Checkpoints.of(config, dataset_sha256=SHA), tmp_path, [10])
    run = fingerprint(describe_run(config, SHA))
    assert (tmp_path / "models" / "checkpoints" / "papers" / run / "000000010" / INDEX).is_file()
