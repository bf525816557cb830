"""The linear architecture: a linear model per label over TF-IDF features, as one ONNX graph."""

from __future__ import annotations

from pathlib import Path

from model.manifest import ArchitectureName
from trainer.architectures.base import Architecture, Exported
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.data.examples import Examples


class LinearArchitecture(Architecture):
    """Architecture that rank 0 fits alone, on CPUs, in seconds to minutes. It is not resumed."""

    name = ArchitectureName.LINEAR

    def is_configured(self, config: Config) -> bool:  # noqa: ARG002 - the protocol's
        """Return True: every setting has a default."""
        return True

    def check(self, config: Config, *, scratch: Path) -> None:  # noqa: ARG002 - the protocol's
        """Check nothing: all it needs is installed with the trainer."""
        return

    def fit(
        self,
        train: Examples,
        validation: Examples,
        config: Config,
        *,
        folder: Path,
        attempt: Attempt,  # noqa: ARG002 - the protocol's
    ) -> Exported:
        """Fit, calibrate and export the model. Raises ExportFailed."""
        from trainer.architectures.linear.fit import fit

        return fit(train, validation, config, folder=folder)

    def train_as_worker(self, train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> None:
        """Raise NotImplementedError: rank 0 fits it alone."""
        raise NotImplementedError("the linear architecture is fitted by rank 0 alone")


LINEAR = LinearArchitecture()
