from __future__ import annotations

from pathlib import Path

import pytest

from model.storage import FileStore, open_store
from trainer.run.checkpoint_store import Checkpoints
from trainer.run.identity import INDEX


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
    return sorted(int(each.key.split("/")[0]) for each in store.list() if each.key.endswith(INDEX))


def test_there_is_no_checkpoint_at_first(store: FileStore, tmp_path: Path) -> None:
    assert Checkpoints(store).latest(tmp_path / "restored") is None


def test_the_newest_checkpoint_comes_back_as_it_was(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store)
    save_steps(checkpoints, tmp_path, [10, 20])
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, found.best_step) == (20, 20)
    assert (found.folder / "weights").read_text() == "step 20"


def test_checkpoints_are_kept_in_s3(s3_bucket: str, tmp_path: Path) -> None:
    save_steps(Checkpoints(open_store(s3_bucket)), tmp_path, [10, 20, 30], best_step=10)
    found = Checkpoints(open_store(s3_bucket)).latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, (found.best / "weights").read_text()) == (30, "step 10")


def test_two_checkpoints_and_the_best_are_kept(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store)
    save_steps(checkpoints, tmp_path, [10, 20, 30, 40], best_step=10)
    found = checkpoints.latest(tmp_path / "restored")
    assert stored_steps(store) == [10, 30, 40]
    assert found is not None
    assert (found.best / "weights").read_text() == "step 10"


def test_a_half_uploaded_checkpoint_is_invisible(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store)
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
    checkpoints = Checkpoints(store)
    save_steps(checkpoints, tmp_path, [10, 20])
    weights = next(each.key for each in store.list() if each.key.endswith("20/weights"))
    store.write(weights, b"step 2?") if damage == "altered" else store.delete(weights)
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert found.step == 10
    assert "step 20" in caplog.text


def test_a_lost_best_checkpoint_leaves_the_newest(store: FileStore, tmp_path: Path) -> None:
    checkpoints = Checkpoints(store)
    save_steps(checkpoints, tmp_path, [10, 20], best_step=10)
    for each in list(store.list()):
        if each.key.startswith("000000010/"):
            store.delete(each.key)
    found = checkpoints.latest(tmp_path / "restored")
    assert found is not None
    assert (found.step, found.best_step) == (20, 20)


def test_what_was_left_half_uploaded_is_pruned(store: FileStore, tmp_path: Path) -> None:
    store.write("000000005/weights", b"half")
    save_steps(Checkpoints(store), tmp_path, [10])
    assert not [each.key for each in store.list("000000005/")]
    assert stored_steps(store) == [10]
