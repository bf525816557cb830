"""What rank 0 of a training accepts from its peers, which are not authenticated."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import distributed

from trainer.architectures import distributed as ranks

PEER = """
import sys
from pathlib import Path
import torch
from torch import distributed
from trainer.architectures import distributed as ranks

folder = Path(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=1, world_size=2)

class Evil:
    def __reduce__(self):
        return Path.touch, (folder / "executed",)
"""


@contextmanager
def peer(folder: Path, does: str) -> Iterator[Callable[[], int]]:
    """This process is the first of two; the other one does this, and `end` waits for it."""
    other = subprocess.Popen([sys.executable, "-c", PEER + does, str(folder)])
    try:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=0, world_size=2)
        yield lambda: other.wait(120)
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        other.kill()
        other.wait()


def test_a_file_of_every_peer_comes_under_a_name_made_of_its_rank_and_is_never_unpickled(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    (here / "state_0").write_bytes(b"mine")
    does = """
(folder / "there/state_1").write_bytes(bytes(range(256)) * 40)
ranks.gather_files(lambda rank: folder / f"there/state_{rank}")
distributed.gather_object(("../../escaped", Evil()), None)  # as an older release of ours did
distributed.barrier()
"""
    with peer(tmp_path, does) as end:
        ranks.gather_files(lambda rank: here / f"state_{rank}")
        assert (here / "state_1").read_bytes() == bytes(range(256)) * 40
        ranks.gather_files(lambda rank: here / f"state_{rank}")
        distributed.barrier()
        assert end() == 0
    assert b"escaped" in (here / "state_1").read_bytes()  # kept as bytes
    assert {each.name for each in here.iterdir()} == {"state_0", "state_1"}
    assert (here / "state_0").read_bytes() == b"mine"
    assert not list(tmp_path.rglob("executed")) + list(tmp_path.parent.rglob("*escaped*"))


@pytest.mark.parametrize("length", [pytest.param(2**40, id="longer-than-memory"), pytest.param(-1, id="negative")])
def test_a_length_that_no_file_of_states_has_is_refused_before_memory_is_taken(tmp_path: Path, length: int) -> None:
    (tmp_path / "state_0").write_bytes(b"mine")
    does = f"distributed.all_gather([torch.zeros(1, dtype=torch.int64)] * 2, torch.tensor([{length}]))"
    with (
        peer(tmp_path, does),
        pytest.raises(ranks.PeerLost, match=f"process 1 of the training announces a file of {length} bytes"),
    ):
        ranks.gather_files(lambda rank: tmp_path / f"state_{rank}")
    assert not (tmp_path / "state_1").exists()
