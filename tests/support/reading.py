"""Read a data file as a training does, and return its examples."""

from __future__ import annotations

from pathlib import Path

from trainer.config.settings import DatasetConfig
from trainer.data.reading import Loaded, read_examples


def read(path: Path, **settings: object) -> Loaded:
    """Return the examples of a file or folder. By default, labels are separated by blanks."""
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    config = DatasetConfig.model_validate({"uri": path.as_uri(), "label_separator": " "} | settings)
    return read_examples(config, scratch=scratch, seed=0)


def labels_of(loaded: Loaded) -> list[set[str]]:
    """Return the names of each example's labels."""
    rows = loaded.examples.targets.toarray()
    return [{loaded.examples.labels[index] for index in row.nonzero()[0]} for row in rows]
