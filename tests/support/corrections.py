"""Corrections for tests, and the files that the gateway would store them in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from model.corrections import Correction, corrections_file

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def correction(text: str, *labels: str, at: float = 0, **more: Any) -> Correction:
    """Return a correction that was made `at` seconds after the beginning, whose id says so too."""
    given = {
        "id": f"c{at:09.3f}".replace(".", "-"),
        "author": "ann",
        "time": BEGINNING + timedelta(seconds=at),
        "source": "volunteer",
        "predictions_shown": True,
    }
    return Correction(text=text, labels=labels, **given | more)


def store(folder: Path, corrections: Iterable[Correction], *, classifier: str = "pets") -> Path:
    """Write one file of corrections below the folder, and return its path."""
    key, content = corrections_file(classifier, corrections)
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
