"""What the machine offers to a training: the CPUs that torch may use, and whether bfloat16 is done in hardware."""

from __future__ import annotations

import torch

from model.cores import usable_cores


def use_all_cpus() -> int:
    """Let torch use the CPUs that this process may use, and return how many those are.

    Torch counts the cores of the machine. In a container with a CPU limit it would start a thread for each of them,
    and each would wait for the others most of the time. `OMP_NUM_THREADS`, where set, still lowers the number.
    """
    threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(threads)
    return threads


def has_bfloat16() -> bool:
    """Whether the device that torch trains on multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases of torch cannot tell
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def count_gpus() -> int:
    """The GPUs that this process may use."""
    return torch.cuda.device_count()
