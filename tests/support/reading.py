"""Read a data file as training does, and look at what came of it."""

from __future__ import annotations

from pathlib import Path

from trainer.config.settings import DatasetConfig
from trainer.data.reading import Loaded, read_examples


def read(path: Path, **settings: object) -> Loaded:
    """The examples of the file or folder, whose labels are joined by blanks unless the settings say otherwise."""
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    config = DatasetConfig.model_validate({"uri": path.as_uri(), "label_separator": " "} | settings)
    return read_examples(config, scratch=scratch, seed=0)


def labels_of(loaded: Loaded) -> list[set[str]]:
    """The names of each example's labels."""
    rows = loaded.examples.targets.toarray()
    return [{loaded.examples.labels[index] for index in row.nonzero()[0]} for row in rows]
