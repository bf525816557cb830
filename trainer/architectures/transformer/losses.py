"""What a step of fine-tuning makes smaller: how wrong the logits are, label by label."""

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
    """Binary cross-entropy when multi-label, cross-entropy when single-label, averaged over all decisions of a step.

    With `config.loss` "weighted", positive decisions count by `rarity_weights`; with "focal", each decision by `_focused`.
    """
    weights = rarity_weights(targets) if config.loss == "weighted" else None
    gamma = config.focal_gamma if config.loss == "focal" else 0.0

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        logits = outputs.logits.float()
        there = None if weights is None else weights.to(logits.device)
        if task is Task.SINGLE_LABEL:
            each = functional.cross_entropy(logits, labels, weight=there, reduction="none")
        else:
            each = functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=there, reduction="none")
        total = (_focused(each, gamma) if gamma else each).sum()
        # Several small batches may make one step: the Trainer says how many decisions that step has.
        return total / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def rarity_weights(targets: csr_matrix) -> Tensor:
    """`imbalance.rarity`: a weight for each label [labels], 1 for one of average frequency."""
    return torch.from_numpy(rarity(targets))


def _focused(each: Tensor, gamma: float) -> Tensor:
    """Focal loss of the decisions whose cross-entropies are `each`, of that shape: the sure and right ones count little.

    (1 - p) ** gamma * -log p, where p is what the model gives the truth: the label's sigmoid, or one minus it, when
    multi-label, the softmax when single-label. Lin, Goyal, Girshick, He and Dollar, "Focal loss for dense object
    detection", ICCV 2017, without its alpha.
    """
    # 1 - exp(-0) is 0, where a power below 1 has an infinite slope.
    doubt = (-torch.expm1(-each)).clamp_min(torch.finfo(each.dtype).tiny)
    return doubt**gamma * each
