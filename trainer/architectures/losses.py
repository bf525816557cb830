"""What a step of fine-tuning makes smaller: how wrong the logits are, label by label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from model.manifest import Task
from trainer.config import BalanceConfig

Loss = Callable[..., Tensor]


def loss_function(targets: csr_matrix, task: Task, config: BalanceConfig) -> Loss:
    """Binary cross-entropy when multi-label, cross-entropy when single-label, averaged over all decisions of a step."""
    weights = rarity_weights(targets) if config.loss == "weighted" else None

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        logits = outputs.logits.float()
        there = None if weights is None else weights.to(logits.device)
        if task is Task.SINGLE_LABEL:
            total = functional.cross_entropy(logits, labels, weight=there, reduction="sum")
        else:
            total = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=there, reduction="sum")
        # Several small batches may make one step: the Trainer says how many decisions that step has.
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def rarity_weights(targets: csr_matrix) -> Tensor:
    """A weight for each label [labels], 1 for one of average frequency.

    The square root of the inverse frequency: a label that is a hundred times rarer counts ten times as much. The full
    inverse would let a handful of texts outweigh all others.
    """
    counts = np.maximum(1, np.asarray(targets.sum(axis=0, dtype=np.int64)).ravel())
    return torch.from_numpy(np.sqrt(counts.mean() / counts).astype(np.float32))
