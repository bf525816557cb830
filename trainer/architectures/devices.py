"""Devices for a training: CPUs that torch may use, GPUs, and hardware support of bfloat16."""

from __future__ import annotations

import torch

from model.cores import usable_cores


def use_all_cpus() -> int:
    """Let torch use the CPUs that this process may use, and return their number.

    Torch counts the cores of the machine. In a container with a CPU limit it would start more threads than can run at
    once. `OMP_NUM_THREADS` still lowers the number.
    """
    threads = min(torch.get_num_threads(), usable_cores())
    torch.set_num_threads(threads)
    return threads


def has_bfloat16() -> bool:
    """Return whether torch's device multiplies bfloat16 in hardware. Emulated bfloat16 is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older releases of torch lack it
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def count_gpus() -> int:
    """Return the number of GPUs that this process may use."""
    return torch.cuda.device_count()
