"""Loss functions of fine-tuning: cross-entropy, weighted cross-entropy and focal loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn import functional

from model.manifest import Task
from trainer.balance.imbalance import rarity
from trainer.config.settings import BalanceConfig

Loss = Callable[..., Tensor]


def loss_function(targets: csr_matrix, task: Task, config: BalanceConfig) -> Loss:
    """Return the loss: binary cross-entropy (multi-label) or cross-entropy (single-label), averaged over a step's decisions.

    With `config.loss` "weighted", positive decisions are weighted by `rarity_weights`; with "focal", see `_focal_loss`.
    """
    weights = rarity_weights(targets) if config.loss == "weighted" else None
    gamma = config.focal_gamma if config.loss == "focal" else 0.0

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        logits = outputs.logits.float()
        on_device = None if weights is None else weights.to(logits.device)
        if task is Task.SINGLE_LABEL:
            each = functional.cross_entropy(logits, labels, weight=on_device, reduction="none")
        else:
            each = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=on_device, reduction="none")
        total = (_focal_loss(each, gamma) if gamma else each).sum()
        # A step may consist of several batches: the Trainer passes the number of decisions of the step.
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def rarity_weights(targets: csr_matrix) -> Tensor:
    """Return `imbalance.rarity` as a tensor: a weight for each label [labels], 1 at average frequency."""
    return torch.from_numpy(rarity(targets))


def _focal_loss(each: Tensor, gamma: float) -> Tensor:
    """Return the focal loss of decisions from their cross-entropies `each`: correct and certain decisions count little.

    (1 - p) ** gamma * -log p, where p is the probability of the truth: the label's sigmoid, or one minus it, for
    multi-label; the softmax for single-label. Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object
    detection", ICCV 2017, without its alpha.
    """
    # 1 - exp(-0) is 0, where a power below 1 has an infinite slope.
    doubt = (-torch.expm1(-each)).clamp_min(torch.finfo(each.dtype).tiny)
    return doubt**gamma * each
