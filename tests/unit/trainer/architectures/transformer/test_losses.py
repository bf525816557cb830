"""Losses of fine-tuning, against their formulas."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch import Tensor

from model.manifest import Task
from trainer.architectures.transformer.losses import loss_function
from trainer.config.settings import BalanceConfig

TARGETS = csr_matrix(np.repeat(np.eye(3, dtype=np.uint8), [90, 9, 1], axis=0))
TASKS = pytest.mark.parametrize("task", list(Task))


def decisions(task: Task, seed: int, *, rows: int = 16) -> tuple[Tensor, Tensor]:
    """Logits [rows, 3] and the truth, as the collator gives it for the task."""
    random = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, 3, generator=random)
    if task is Task.SINGLE_LABEL:
        return logits, torch.randint(3, (rows,), generator=random)
    return logits, torch.randint(2, (rows, 3), generator=random).float()


def loss(logits: Tensor, labels: Tensor, task: Task, **settings: object) -> Tensor:
    config = BalanceConfig.model_validate(settings)
    return loss_function(TARGETS, task, config)(SimpleNamespace(logits=logits), labels)


@TASKS
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_focal_loss_of_gamma_0_is_the_plain_loss(task: Task, seed: int) -> None:
    logits, labels = decisions(task, seed)

    assert loss(logits, labels, task, loss="focal", focal_gamma=0) == loss(logits, labels, task)


@TASKS
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), gamma=st.floats(0.1, 5))
def test_focal_loss_is_the_mean_over_decisions_of_its_formula(task: Task, seed: int, gamma: float) -> None:
    logits, labels = decisions(task, seed)
    if task is Task.SINGLE_LABEL:
        truth = logits.double().softmax(1)[torch.arange(len(labels)), labels]
    else:
        right = logits.double().sigmoid()
        truth = torch.where(labels == 1, right, 1 - right)

    expected = ((1 - truth) ** gamma * -truth.log()).mean()
    assert loss(logits, labels, task, loss="focal", focal_gamma=gamma).item() == pytest.approx(expected.item(), rel=1e-4)


@TASKS
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), gamma=st.floats(0.1, 5))
def test_focal_loss_is_never_above_the_plain_one(task: Task, seed: int, gamma: float) -> None:
    logits, labels = decisions(task, seed)

    assert loss(logits, labels, task, loss="focal", focal_gamma=gamma) <= loss(logits, labels, task)


@TASKS
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1, 2, 10])
def test_gradients_are_finite_where_the_model_is_sure(task: Task, gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, -200.0]], requires_grad=True)
    labels = torch.tensor([0, 0]) if task is Task.SINGLE_LABEL else torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])

    loss(logits, labels, task, loss="focal", focal_gamma=gamma).backward()

    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@TASKS
def test_small_batches_of_one_step_add_up_to_its_mean(task: Task) -> None:
    logits, labels = decisions(task, 0)
    function = loss_function(TARGETS, task, BalanceConfig(loss="focal"))

    whole = function(SimpleNamespace(logits=logits), labels)
    halves = [
        function(SimpleNamespace(logits=logits[half]), labels[half], torch.tensor(labels.numel()))
        for half in (slice(0, 8), slice(8, 16))
    ]

    assert sum(halves).item() == pytest.approx(whole.item(), rel=1e-5)


@TASKS
def test_a_rare_label_missed_costs_more_when_weighted(task: Task) -> None:
    logits = torch.zeros(1, 3)
    truths = {
        name: torch.tensor([place]) if task is Task.SINGLE_LABEL else torch.eye(3)[[place]]
        for name, place in (("common", 0), ("rare", 2))
    }

    common, rare = (loss(logits, truths[name], task, loss="weighted") for name in ("common", "rare"))

    assert rare > common
