"""What an architecture is: how the pipeline asks for it, and what it hands on."""

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
    """A fitted model on disk, ready to be scored as it will be served.

    folder: holds `model.onnx` (`input_ids`, `attention_mask` int64 [texts, tokens] to `logits` float32 [texts, labels])
        and `tokenizer.json`.
    max_length: tokens of a text that the model sees.
    epochs: passes over the training part that were made.
    parity: largest difference between the exported and the fitted model's logits, as `parity.check_parity` returned it.
    seconds: from the examples to the folder.
    cpu_seconds: of all cores, in the same time.
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
    parity: float
    seconds: float
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_memory_bytes: int = 0
    best_step: int | None = None


class Architecture(Protocol):
    """A kind of model that can be fitted to examples and exported to ONNX.

    Its folder's `__init__.py` holds one, and imports the libraries that it needs only when a method is called.
    """

    @property
    def name(self) -> ArchitectureName:
        """Its name in settings and manifests."""
        ...

    @property
    def distributed(self) -> bool:
        """Whether all ranks of a training fit it together; otherwise rank 0 fits it alone."""
        return False

    def is_configured(self, config: Config) -> bool:
        """Return whether the settings that it cannot do without are set."""
        ...

    def check(self, config: Config, *, scratch: Path) -> None:
        """Raise ConfigRejected or StorageError, before the dataset is read, if it could not be fitted later."""
        ...

    def fit(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> Exported:
        """Fit on `train`, tune on `validation` and export into `folder`, on rank 0.

        Raises ConfigRejected, StorageError, Terminated; ExportFailed if the exported model is not the fitted one.
        """
        ...

    def assist(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> None:
        """Fit together with rank 0, on every other rank; only called if `distributed`."""
        ...
