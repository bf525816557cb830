"""Fine-tune a network with transformers' Trainer: its loop and optimizer, our batches, loss and evaluation."""

from __future__ import annotations

import json
import logging
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from trainer.architectures import devices
from trainer.architectures.losses import loss_function
from trainer.architectures.pooled import PooledClassifier
from trainer.architectures.token_ids import SimilarLengths, TokenIds
from trainer.architectures.training_callbacks import EvenlySpaced, StoreCheckpoints, TellProgress
from trainer.architectures.validation import micro_f1_at_best
from trainer.checkpoints import Checkpoints
from trainer.config import Config, TrainingConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Material:
    """What a network is trained with."""

    train: TokenIds
    validation: TokenIds


class FineTuning(Trainer):
    """The Trainer, with batches whose order follows from seed and epoch, and a learning rate of the head's own."""

    def __init__(self, network: PooledClassifier, train: TokenIds, settings: TrainingConfig, **others: Any) -> None:
        super().__init__(network, train_dataset=train, **others)
        self._network = network
        self._train = train
        self._settings = settings

    def create_optimizer(self) -> torch.optim.Optimizer:
        """AdamW. The head begins at random weights and has to catch up with an encoder that needs small steps."""
        if self.optimizer is None:
            groups = parameter_groups(self._network, self._settings)
            self.optimizer = torch.optim.AdamW(groups, lr=self._settings.learning_rate, fused=True)
        return self.optimizer

    def get_train_dataloader(self) -> Any:
        """Batches of similar length."""
        batch_size = self.args.per_device_train_batch_size
        order = SimilarLengths(self._train.lengths, batch_size=batch_size, seed=self.args.seed)
        loader = DataLoader(self._train, batch_size, sampler=order, collate_fn=self._train.batch)
        return self.accelerator.prepare(loader)


def fine_tune(
    network: PooledClassifier, material: Material, config: Config, *, folder: Path, checkpoints: Checkpoints | None
) -> float:
    """Train `network` in place, and return the passes over the training part that were made.

    It ends with the weights that were best on validation. `folder` is for the Trainer's files; `checkpoints`, where
    given, is resumed from and saved to.
    """
    settings = config.training
    steps = total_steps(len(material.train), settings)
    resume = restore(checkpoints, folder) if checkpoints and not settings.from_scratch else None
    trainer = FineTuning(
        network,
        material.train,
        settings,
        args=arguments(settings, steps, folder, resumable=checkpoints is not None),
        eval_dataset=material.validation,
        data_collator=material.validation.batch,
        compute_loss_func=loss_function(material.train.targets, material.train.task, config.balance),
        compute_metrics=lambda found: _scores(found, material.validation),
        callbacks=_callbacks(settings, steps) + ([StoreCheckpoints(checkpoints, folder)] if checkpoints else []),
    )
    # It prints on standard output, which belongs to the command's result.
    trainer.remove_callback(PrinterCallback)  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # Checkpoints that are less than a second apart: the Trainer then orders them by their numbers, which is right.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        trainer.train(resume_from_checkpoint=resume)
    trainer.accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # it had put its mixed precision into `forward`
    return float(trainer.state.epoch or 0)


def total_steps(texts: int, settings: TrainingConfig) -> int:
    """Optimizer steps of the whole training."""
    return math.ceil(math.ceil(texts / settings.batch_size) * settings.num_epochs)


def arguments(settings: TrainingConfig, steps: int, folder: Path, *, resumable: bool) -> TrainingArguments:
    """The Trainer's arguments. When it evaluates, saves and logs is the callbacks' business."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size * 2,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(steps * settings.warmup_share),
        lr_scheduler_type="linear",
        use_cpu=not torch.cuda.is_available(),
        bf16=devices.has_bfloat16(),
        seed=settings.seed,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=steps + 1,
        save_steps=steps + 1,
        logging_steps=min(50, max(1, steps // 20)),
        save_total_limit=2,
        save_only_model=not resumable,
        load_best_model_at_end=True,
        metric_for_best_model="micro_f1",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,  # the patience that is used up
        label_names=["labels"],
        remove_unused_columns=False,
        logging_nan_inf_filter=False,  # it would wait for the device after every step, to hide what should be seen
        report_to="none",
        disable_tqdm=True,
    )


def parameter_groups(network: PooledClassifier, settings: TrainingConfig) -> list[dict[str, Any]]:
    """What is trained, by learning rate and weight decay; biases and norms do not decay."""
    encoder = [each for each in network.encoder.parameters() if each.requires_grad]
    rates = [(encoder, settings.learning_rate), (list(network.head.parameters()), settings.head_learning_rate)]
    return [
        {"params": [each for each in part if (each.ndim > 1) is decays], "lr": rate, "weight_decay": decay}
        for part, rate in rates
        for decays, decay in ((True, settings.weight_decay), (False, 0.0))
    ]


def restore(checkpoints: Checkpoints, folder: Path) -> str | None:
    """The newest checkpoint as the Trainer wants it: a folder of a certain name in `folder`, its best one beside it."""
    found = checkpoints.latest(folder / "restored")
    if found is None:
        return None
    best = folder / f"checkpoint-{found.best_step}"
    newest = folder / f"checkpoint-{found.step}"
    found.folder.rename(newest)
    if best != newest:
        found.best.rename(best)
    state = json.loads((newest / TRAINER_STATE_NAME).read_text())
    state["best_model_checkpoint"] = str(best)  # the Trainer keeps the path of the machine that it was on
    (newest / TRAINER_STATE_NAME).write_text(json.dumps(state))
    log.info("resuming at step %d", found.step)
    return str(newest)


def _callbacks(settings: TrainingConfig, steps: int) -> list[TrainerCallback]:
    evaluations = max(1, round(settings.num_epochs * settings.evaluations_per_epoch))
    return [
        EvenlySpaced(steps, evaluations),
        TellProgress(settings.batch_size),
        EarlyStoppingCallback(early_stopping_patience=settings.patience),
    ]


def _scores(found: EvalPrediction, validation: TokenIds) -> dict[str, float]:
    logits = np.asarray(found.predictions, np.float32)
    return {"micro_f1": micro_f1_at_best(logits, validation.targets, validation.task)}
