"""One training in two processes on this machine, as two nodes would run it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.attempts import TrainingProcess, make_dataset
from tests.support.encoders import write_tiny_bert
from tests.support.ports import free_port

# Without dropout a step does the same to the same texts, however they are shared.
SAME = {"training__dropout": 0, "training__num_epochs": 4, "training__batch_size": 8}

# Everything that torch.distributed unpickles goes through this function. Python imports the module at its start.
REFUSES_PICKLES = """
import importlib.abc, importlib.machinery, sys

NAME = "torch.distributed.distributed_c10d"

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            assert callable(module._tensor_to_object)
            def refuse(*_):
                raise AssertionError("a peer's pickle was to be loaded")
            module._tensor_to_object = refuse
            print('{"message": "sitecustomize refuses pickles from peers"}', file=sys.stderr)

        spec.loader.exec_module = loaded
        return spec

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bert(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_dataset(tmp_path)
    return tmp_path


def start_two(
    folder: Path, bert: Path, *, more: dict[str, str] | None = None, forked: bool = True, **settings: object
) -> tuple[TrainingProcess, TrainingProcess]:
    """Two nodes; they share the storage, and nothing else. more: variables."""
    common = (more or {}) | {
        "PET_NNODES": "2",
        "PET_NPROC_PER_NODE": "1",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_port()),
    }
    return tuple(  # type: ignore[return-value]
        TrainingProcess(
            folder,
            bert=bert,
            variables=common | {"PET_NODE_RANK": rank},
            forked=forked,
            result_file=folder / f"result-{rank}",
            **settings,
        )
        for rank in ("0", "1")
    )


def test_two_processes_have_the_loss_curve_of_one_and_publish_once(
    folder: Path, bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alone = tmp_path_factory.mktemp("alone")
    make_dataset(alone)
    one = TrainingProcess(alone, bert=bert, **SAME)
    assert one.end() == 0

    # Peers are not authenticated: nothing that they send may be unpickled, by us or by transformers.
    (folder / "sitecustomize.py").write_text(REFUSES_PICKLES)
    first, second = start_two(folder, bert, more={"PYTHONPATH": str(folder)}, forked=False, **SAME)

    assert (first.end(), second.end()) == (0, 0)
    assert "sitecustomize refuses pickles from peers" in first.log_file.read_text()
    assert first.losses() == pytest.approx(one.losses(), rel=0.01, abs=0.001)
    assert first.manifest().scores.validation.micro_f1 == pytest.approx(one.manifest().scores.validation.micro_f1, abs=0.04)
    assert "publishing" in first.log_file.read_text()
    assert "publishing" not in second.log_file.read_text()


def test_several_processes_of_one_node_tell_one_outcome(folder: Path, bert: Path) -> None:
    variables = {"PET_NPROC_PER_NODE": "2", "PET_MASTER_PORT": str(free_port())}
    node = TrainingProcess(folder, bert=bert, variables=variables, forked=False, **{**SAME, "training__num_epochs": 1})
    assert node.end() == 0
    assert node.result().artifact_uri == f"file://{folder}/models/pets/v1/"
    assert len([line for line in node.lines() if "publishing" in str(line["message"])]) == 1


def test_when_one_is_lost_the_other_fails_and_the_next_attempt_goes_on(folder: Path, bert: Path) -> None:
    first, second = start_two(folder, bert, training__num_epochs=3)
    first.wait_for("saved a checkpoint")
    second.signal(signal.SIGKILL)
    second.end()
    assert first.end() == 75
    assert "another process of the training is lost" in first.log_file.read_text()

    first, second = start_two(folder, bert, training__num_epochs=3)
    assert (first.end(), second.end()) == (0, 0)
    assert "resuming at step" in first.log_file.read_text()


def test_if_one_process_gets_sigterm_both_stop_after_a_checkpoint(folder: Path, bert: Path) -> None:
    first, second = start_two(folder, bert, training__num_epochs=10, checkpoints__every_minutes=60)
    first.wait_for("validation micro-F1")
    second.signal(signal.SIGTERM)
    assert second.end() == 143
    assert first.end() in (143, 75)
    assert "saved a checkpoint" in first.log_file.read_text()


def test_a_batch_that_cannot_be_shared_is_refused_in_both(folder: Path, bert: Path) -> None:
    first, second = start_two(folder, bert, training__batch_size=7)
    assert (first.end(), second.end()) == (64, 64)
    assert "training.batch_size is 7: expected a multiple of the 2 processes" in first.log_file.read_text()
