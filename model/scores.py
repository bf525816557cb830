"""Scores of a version: their names, and the fields for their values on one part of the data.

The values are computed in trainer/evaluation/scoring.py.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from model.fields import Share, Strict, is_none


class ScoreName(StrEnum):
    """Names of the scores that a gate may compare, as settings and results write them."""

    MICRO_F1 = "micro-f1"
    MACRO_F1 = "macro-f1"
    SAMPLES_F1 = "samples-f1"
    WEIGHTED_F1 = "weighted-f1"
    ACCURACY = "accuracy"


class LabelScores(Strict):
    """Scores of one label."""

    precision: Share
    recall: Share
    f1: Share
    support: int = Field(ge=0, description="number of texts that carry the label")


class Scores(Strict):
    """Scores on one part of the data, computed with the exported model."""

    micro_f1: Share
    macro_f1: Share = Field(description="mean over the labels that occur in the part")
    samples_f1: Share = Field(
        description="mean of the texts' F1; if no label is required, the F1 of a text that carries none and is given none is 1"
    )
    weighted_f1: Share
    subset_accuracy: Share = Field(
        description="share of texts whose predicted labels are exactly their labels; accuracy if single-label"
    )
    average_precision: Share = Field(description="mean over the labels that occur in the part")
    texts: int = Field(ge=0)
    without_label: Share | None = Field(
        default=None, exclude_if=is_none, description="share of texts that carry no label; absent: each carries one"
    )
    predicted_without_label: Share | None = Field(
        default=None, exclude_if=is_none, description="share of texts that are given no label; absent: each is given one"
    )
    per_label: dict[str, LabelScores]

    def by_name(self) -> dict[ScoreName, float]:
        """Return every score that a gate may compare."""
        return {
            ScoreName.MICRO_F1: self.micro_f1,
            ScoreName.MACRO_F1: self.macro_f1,
            ScoreName.SAMPLES_F1: self.samples_f1,
            ScoreName.WEIGHTED_F1: self.weighted_f1,
            ScoreName.ACCURACY: self.subset_accuracy,
        }
