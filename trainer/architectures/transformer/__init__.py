"""The transformer architecture: fine-tune a pretrained encoder and export it."""

from __future__ import annotations

from pathlib import Path

from model.manifest import ArchitectureName
from trainer.architectures.base import Architecture, Exported
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples


class TransformerArchitecture(Architecture):
    """Architecture that all ranks fine-tune together and that resumes from checkpoints. Its libraries take seconds to import."""

    name = ArchitectureName.TRANSFORMER
    distributed = True

    def is_configured(self, config: Config) -> bool:
        """Return whether there is a base model to fine-tune."""
        return config.training.base_model is not None

    def check(self, config: Config, *, scratch: Path) -> None:
        """Raise ConfigRejected or StorageError if the base model cannot be used."""
        from trainer.architectures.transformer.fit import require_base_model

        require_base_model(config, scratch=scratch)

    def fit(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> Exported:
        """Fine-tune the base model, export it and quantize it if that is harmless."""
        from trainer.architectures.transformer.fit import fit

        return fit(train, validation, config, folder=folder, attempt=attempt)

    def train_as_worker(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> None:
        """Fine-tune together with rank 0 on every other rank."""
        from trainer.architectures.transformer.fit import train_as_worker

        train_as_worker(train, validation, config, folder=folder, attempt=attempt)


TRANSFORMER = TransformerArchitecture()
