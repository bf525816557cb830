"""What every architecture hands on: a folder with the graph and its tokenizer, and what it took to make them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.manifest import ArchitectureName, Precision


class ExportFailed(Exception):
    """The graph does not compute what was fitted, by a fault of this program or its libraries: it must not be published."""


@dataclass(frozen=True)
class Exported:
    """A fitted model on disk, ready to be scored as it will be served.

    folder: holds `model.onnx` (`input_ids`, `attention_mask` int64 [texts, tokens] to `logits` float32 [texts, labels])
        and `tokenizer.json`.
    max_length: tokens of a text that the model sees.
    epochs: passes over the training part that were made.
    seconds: from the examples to the folder.
    cpu_seconds: of all cores, of the same stretch.
    gpu_seconds: GPUs of the training times the seconds for which it held them.
    peak_memory_bytes: the most resident memory of a process of the run until then.
    best_step: the optimizer step whose weights these are; None where there are no steps.
    """

    folder: Path
    architecture: ArchitectureName
    precision: Precision
    max_length: int
    base_model: str | None
    epochs: float
    seconds: float
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    best_step: int | None = None
