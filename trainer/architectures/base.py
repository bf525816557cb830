"""Protocol of an architecture, and the fitted model that it returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.manifest import ArchitectureName, Precision
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples


@dataclass(frozen=True)
class Exported:
    """A fitted model on disk, scored from these files as it will be served.

    folder: holds `model.onnx` (`input_ids`, `attention_mask` int64 [texts, tokens] to `logits` float32 [texts, labels])
        and `tokenizer.json`.
    max_length: tokens of a text that the model sees.
    epochs: completed passes over the training part.
    parity: largest difference between the exported and the fitted model's logits, as `parity.check_parity` returned it.
    seconds: wall-clock time of fitting and export.
    cpu_seconds: CPU time of all cores in that time.
    gpu_seconds: number of GPUs times the seconds for which they were held.
    peak_memory_bytes: peak resident memory of a process of the run until then.
    best_step: optimizer step of these weights; None if the architecture has no steps.
    """

    folder: Path
    architecture: ArchitectureName
    precision: Precision
    max_length: int
    base_model: str | None
    epochs: float
    parity: float
    seconds: float
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    best_step: int | None = None


class Architecture(Protocol):
    """Kind of model that can be fitted to examples and exported to ONNX.

    Each is defined in the `__init__.py` of its folder, and imports its libraries only when a method is called.
    """

    @property
    def name(self) -> ArchitectureName:
        """Name in settings and manifests."""
        ...

    @property
    def distributed(self) -> bool:
        """Whether all ranks fit the model together; otherwise rank 0 fits it alone."""
        return False

    def is_configured(self, config: Config) -> bool:
        """Return whether its required settings are set."""
        ...

    def check(self, config: Config, *, scratch: Path) -> None:
        """Raise ConfigRejected or StorageError, before the dataset is read, if the model cannot be fitted."""
        ...

    def fit(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> Exported:
        """Fit on `train`, tune on `validation` and export into `folder`, on rank 0.

        Raises ConfigRejected, StorageError, Terminated; ExportFailed if the exported model is not the fitted one.
        """
        ...

    def train_as_worker(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> None:
        """Fit together with rank 0 on every other rank; called only if `distributed`."""
        ...
