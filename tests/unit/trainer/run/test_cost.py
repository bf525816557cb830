from __future__ import annotations

import subprocess
import sys
import time

import pytest

from trainer.run.cost import Cost

MIB = 2**20
CHILD = """
import subprocess, sys
from trainer.run.cost import Cost
cost = Cost()
before = cost.peak_memory_bytes
subprocess.run([sys.executable, "-c", {program!r}], check=True)
print(before, cost.peak_memory_bytes, cost.cpu_seconds)
"""


def in_a_process(program: str) -> tuple[int, int, float]:
    """Peak before the child and after, in bytes, and the CPU-seconds of a stretch in which a child runs this program.

    A shell stands between: a process that is started by another begins with that one's peak, and that is this test's.
    """
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", CHILD.format(program=program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    before, after, cpu_seconds = done.stdout.split()
    return int(before), int(after), float(cpu_seconds)


def test_a_stretch_costs_what_was_computed_in_it() -> None:
    program = (
        "import time; from trainer.run.cost import Cost; whole = Cost()\n"
        "while whole.cpu_seconds < 0.3: pass\n"
        "computed = whole.seconds; rest = Cost(); time.sleep(0.5); slept = rest.cpu_seconds, rest.seconds\n"
        "print(computed, *slept, whole.cpu_seconds, whole.seconds)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    computed, slept_cpu, slept, whole_cpu, whole = map(float, done.stdout.split())

    assert whole_cpu >= 0.3
    assert slept_cpu < 0.1
    assert slept >= 0.5
    assert whole >= computed + slept


@pytest.mark.parametrize("gpus", [0, 1, 4])
def test_gpus_cost_for_as_long_as_they_are_held(gpus: int) -> None:
    cost = Cost(gpus=gpus)
    time.sleep(0.02)

    earlier, found, later = gpus * cost.seconds, cost.gpu_seconds, gpus * cost.seconds
    assert earlier <= found <= later
    assert (found > 0) is (gpus > 0)


def test_the_memory_of_a_child_counts() -> None:
    before, after, _ = in_a_process(f"held = bytearray({300 * MIB})\nheld[::4096] = b'x' * len(held[::4096])")

    assert before < 250 * MIB
    assert 300 * MIB < after < 450 * MIB


def test_a_child_does_not_count_what_its_parent_holds_once_more() -> None:
    before, after, _ = in_a_process("pass")

    assert after < 1.3 * before


def test_the_computing_of_a_child_counts() -> None:
    *_, cpu_seconds = in_a_process("import time\nwhile time.process_time() < 0.5: pass")

    assert cpu_seconds >= 0.5
