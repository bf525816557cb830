from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trainer.errors import ConfigRejected
from trainer.run.processes import read_processes

ROOT = Path(__file__).parents[4]


def no_gpus() -> int:
    return 0


def test_alone_there_is_one_process() -> None:
    processes = read_processes({}, gpus=no_gpus)
    assert (processes.first, processes.world_size, processes.node) == (True, 1, ())


def test_a_node_of_several_takes_its_place_by_the_variables_of_torchrun() -> None:
    variables = {"PET_NNODES": "3", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "papers-0.papers", "PET_MASTER_PORT": "29500"}
    processes = read_processes(variables, gpus=no_gpus)
    assert (processes.rank, processes.world_size, processes.leads_its_node) == (2, 3, True)
    assert processes.node == (
        {
            "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "papers-0.papers", "MASTER_PORT": "29500",
            "RANK": "2", "LOCAL_RANK": "0", "TORCH_CPP_LOG_LEVEL": "ERROR",
        },
    )  # fmt: skip


@pytest.mark.parametrize("said", ["2", "gpu", "auto"])
def test_a_node_runs_a_process_for_each_gpu(said: str) -> None:
    variables = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": said, "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "first"}
    processes = read_processes(variables, gpus=lambda: 2)
    assert [each["RANK"] for each in processes.node] == ["2", "3"]
    assert [each["LOCAL_RANK"] for each in processes.node] == ["0", "1"]


def test_a_process_that_a_launcher_started_takes_the_place_it_was_given() -> None:
    variables = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "PET_NNODES": "2", "PET_NPROC_PER_NODE": "2"}
    processes = read_processes(variables, gpus=no_gpus)
    assert (processes.rank, processes.world_size, processes.leads_its_node, processes.node) == (3, 4, False, ())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param({"PET_NNODES": "two"}, "PET_NNODES is 'two': expected a number", id="a-word"),
        pytest.param({"PET_NNODES": "1:3"}, "PET_NNODES is '1:3': expected a number", id="an-elastic-range"),
        pytest.param({"PET_NNODES": "2"}, "PET_NNODES is 2 and PET_MASTER_ADDR is not set", id="no-address"),
    ],
)
def test_variables_that_make_no_sense_are_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigRejected, match=message):
        read_processes(variables, gpus=no_gpus)


SEVERAL = """
import os, signal, sys, time
from trainer.run.processes import run_all
if "RANK" not in os.environ:
    sys.exit(run_all([{"RANK": "0"}, {"RANK": "1"}], os.environ))
"""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param("pass", 0, id="all-end-well"),
        pytest.param("sys.exit(65) if os.environ['RANK'] == '1' else time.sleep(600)", 65, id="one-fails-and-the-other-is-ended"),
        pytest.param("os.kill(os.getpid(), 9) if os.environ['RANK'] == '0' else time.sleep(600)", 137, id="one-is-killed"),
        pytest.param(
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143));"
            "os.environ['RANK'] == '0' and os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)",
            143,
            id="sigterm-reaches-all",
        ),
    ],
)
def test_the_processes_of_a_node_end_together_with_the_code_of_the_first_that_failed(body: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(SEVERAL) + body], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == code
