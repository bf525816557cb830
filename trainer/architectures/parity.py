"""Parity check: an exported model has to compute the same logits as the fitted one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.classifier import Floats, OnnxModel, TextTokenizer

log = logging.getLogger(__name__)


class ExportFailed(Exception):
    """The exported model differs from the fitted one, by a fault of this program or its libraries. It is not published."""


@dataclass(frozen=True)
class Tolerance:
    """Allowed difference of a logit: `absolute`, or `relative` times the logit's size, whichever is more."""

    absolute: float
    relative: float = 0.0


def check_parity(folder: Path, texts: Sequence[str], fitted: Floats, *, max_length: int, tolerance: Tolerance) -> float:
    """Compare the files in `folder`, loaded as in the server, with the fitted model. Every architecture calls this.

    fitted: the fitted model's logits of the texts, float32 [texts, labels].
    Return the largest difference of a logit. Raises ExportFailed if one is beyond the tolerance.
    """
    tokenizer = TextTokenizer(Tokenizer.from_file(str(folder / TOKENIZER)), max_length)
    onnx_model = OnnxModel(folder / GRAPH)
    exported = onnx_model.logits(tokenizer.encode(texts))
    if exported.shape != fitted.shape or onnx_model.label_count != fitted.shape[1]:
        raise ExportFailed(f"{GRAPH} gives logits of shape {exported.shape}, expected {fitted.shape}")
    differences = np.abs(exported - fitted)
    allowed = np.maximum(tolerance.absolute, tolerance.relative * np.abs(fitted))
    largest = float(differences.max())
    if not (differences <= allowed).all():  # also true for NaN
        raise ExportFailed(f"{GRAPH} differs from the fitted model by {largest:g} in a logit, more than {tolerance}")
    log.info("the exported model's logits are within %.1g of the fitted model's, on %d texts", largest, len(texts))
    return largest
