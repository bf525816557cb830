"""Fine-tune a network with transformers' Trainer: its loop and optimizer, our batches, loss and evaluation."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
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

from model.cores import memory_limit
from trainer.architectures import devices, distributed
from trainer.architectures.transformer import memory
from trainer.architectures.transformer.callbacks import EvaluationAbandoned, EvenlySpaced, StoreCheckpoints, TellProgress
from trainer.architectures.transformer.dataset import TokenizedDataset
from trainer.architectures.transformer.losses import loss_function
from trainer.architectures.transformer.network import PooledClassifier
from trainer.architectures.transformer.sampler import LengthGroupedSampler
from trainer.architectures.transformer.validation import f1_at_best
from trainer.attempt import Attempt
from trainer.config.settings import Config, TrainingConfig
from trainer.errors import ConfigRejected
from trainer.run.checkpoints import Checkpoints

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Material:
    """What a network is trained with."""

    train: TokenizedDataset
    validation: TokenizedDataset


@dataclass(frozen=True)
class FineTuned:
    """epochs: passes over the training part that were made. best_step: the one whose weights the network ends with."""

    epochs: float
    best_step: int


class Batches(DataLoader[int]):
    """A loader whose order is made anew for each epoch; the Trainer says which."""

    def set_epoch(self, epoch: int) -> None:
        """Called when an epoch begins."""
        order: Any = self.sampler
        order.set_epoch(epoch)


class FineTuning(Trainer):
    """The Trainer, with batches whose order follows from seed and epoch, and a learning rate of the head's own."""

    def __init__(self, network: PooledClassifier, train: TokenizedDataset, settings: TrainingConfig, **others: Any) -> None:
        super().__init__(network, train_dataset=train, **others)
        self._network = network
        self._train = train
        self._settings = settings
        self._pieces = 1
        self._memory_limit = memory_limit()

    def create_optimizer(self) -> torch.optim.Optimizer:
        """AdamW. The head begins at random weights and has to catch up with an encoder that needs small steps."""
        if self.optimizer is None:
            groups = parameter_groups(self._network, self._settings)
            self.optimizer = torch.optim.AdamW(groups, lr=self._settings.learning_rate, fused=True)
        return self.optimizer

    def get_train_dataloader(self) -> Any:
        """Batches of similar length; of several processes each gets its share of every batch."""
        order = LengthGroupedSampler(
            self._train.lengths,
            batch_size=self._settings.batch_size,
            seed=self.args.seed,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        return Batches(self._train, self.args.per_device_train_batch_size, sampler=order, collate_fn=self._train.batch)

    def training_step(self, model: Any, inputs: dict[str, Tensor], num_items_in_batch: Tensor | None = None) -> Tensor:
        """The loss of a batch, its gradients added up; where memory is short, piece by piece, from then on."""
        step = super().training_step
        return torch.stack(self._in_pieces(model, inputs, lambda piece: step(model, piece, num_items_in_batch))).sum()

    def prediction_step(self, model: Any, inputs: dict[str, Tensor], *others: Any, **more: Any) -> Any:
        """Loss, logits [texts, labels] and labels of a batch, in as many pieces."""
        step = super().prediction_step
        parts = self._in_pieces(model, inputs, lambda piece: step(model, piece, *others, **more))
        return tuple(
            None if part[0] is None else torch.cat([each.reshape(-1) if each.ndim == 0 else each for each in part])
            for part in zip(*parts, strict=True)
        )

    def _in_pieces(self, model: Any, inputs: dict[str, Tensor], do: Callable[[dict[str, Any]], Any]) -> list[Any]:
        """What `do` makes of each piece of the batch; all of them again, of half the size, where memory is short."""
        texts = len(inputs["labels"])
        while True:
            size = math.ceil(texts / self._pieces)
            try:
                with memory.bounded(self._memory_limit - self._to_come()):
                    return [do({name: part[at : at + size] for name, part in inputs.items()}) for at in range(0, texts, size)]
            except (RuntimeError, MemoryError) as error:
                if not memory.is_short(error):
                    raise
                problem = str(error).split("\n", 1)[0]
            self._halve(model, size, problem)

    def _to_come(self) -> int:
        """Bytes that the optimizer will ask for at its first step: two numbers for each parameter."""
        begun = self.optimizer is not None and bool(self.optimizer.state)
        return 0 if begun else sum(2 * each.numel() * each.element_size() for each in self._network.parameters())

    def _halve(self, model: Any, size: int, problem: str) -> None:
        """Try again with half as many texts at once. Raises ConfigRejected if that cannot be."""
        if size == 1 or distributed.world_size() > 1:
            raise ConfigRejected(
                f"training.batch_size is {self._settings.batch_size}, {size} at once: the memory is too short ({problem}); "
                "expected fewer texts, a shorter training.max_length, or more memory"
            )
        model.zero_grad()
        memory.give_back_at_once()
        memory.release()
        self._pieces *= 2
        log.warning("out of memory with %d texts at once: from now on a step takes them in %d pieces", size, self._pieces)


def fine_tune(network: PooledClassifier, material: Material, config: Config, *, folder: Path, attempt: Attempt) -> FineTuned:
    """Train `network` in place.

    It ends with the weights that were best on validation. `folder` is for the Trainer's files; the attempt's checkpoints,
    where it has some, are resumed from and saved to. Raises Terminated if the attempt was asked to stop, after a checkpoint.
    """
    settings = config.training
    steps = total_steps(len(material.train), settings)
    resume = restore(attempt.checkpoints, folder) if attempt.checkpoints else None
    trainer = FineTuning(
        network,
        material.train,
        settings,
        args=arguments(settings, steps, folder, resumable=attempt.checkpoints is not None),
        eval_dataset=material.validation,
        data_collator=material.validation.batch,
        compute_loss_func=loss_function(material.train.targets, material.train.task, config.balance),
        compute_metrics=lambda found: _scores(found, material.validation),
        callbacks=[
            *_callbacks(settings, steps, attempt),
            StoreCheckpoints(attempt, folder, minutes=config.checkpoints.every_minutes),
        ],
    )
    # It prints on standard output, which belongs to the command's result.
    trainer.remove_callback(PrinterCallback)  # type: ignore[no-untyped-call]
    torch.manual_seed(settings.seed + distributed.rank())  # or every process would drop the same activations
    with attempt.interruption.deferred(), distributed.peer_errors(), warnings.catch_warnings():
        # Checkpoints that are less than a second apart: the Trainer then orders them by their numbers, which is right.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        _train(trainer, resume)
    memory.release()  # the export wants it
    trainer.accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # it had put its mixed precision into `forward`
    state = trainer.state
    return FineTuned(float(state.epoch or 0), state.best_global_step or state.global_step)


def _train(trainer: FineTuning, resume: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=resume)
    except EvaluationAbandoned:
        if trainer.state.global_step == trainer.state.max_steps:
            return  # no step is left to make up for the evaluation after: the checkpoint before has to do
        save: Any = trainer._save_checkpoint  # noqa: SLF001 - as its own loop does when it is told to
        save(trainer.model, trial=None)
        trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)


def total_steps(texts: int, settings: TrainingConfig) -> int:
    """Optimizer steps of the whole training."""
    return math.ceil(math.ceil(texts / settings.batch_size) * settings.num_epochs)


def arguments(settings: TrainingConfig, steps: int, folder: Path, *, resumable: bool) -> TrainingArguments:
    """The Trainer's arguments. When it evaluates, saves and logs is the callbacks' business.

    Raises ConfigRejected if the processes cannot share a batch evenly.
    """
    share, rest = divmod(settings.batch_size, distributed.world_size())
    if rest or not share:
        raise ConfigRejected(
            f"training.batch_size is {settings.batch_size}: expected a multiple of the {distributed.world_size()} processes"
        )
    found = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.num_epochs,
        per_device_train_batch_size=share,
        per_device_eval_batch_size=share * 2,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(steps * settings.warmup_share),
        lr_scheduler_type="linear",
        use_cpu=not torch.cuda.is_available(),
        ddp_backend=distributed.backend() if distributed.world_size() > 1 else None,
        ddp_find_unused_parameters=False,
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
        log_level="error",
        log_level_replica="error",  # that they lack the best checkpoint, which the first process has
        disable_tqdm=True,
    )
    found._n_gpu = min(1, found.n_gpu)  # noqa: SLF001 - it would split batches among all GPUs in one process, where each has its own
    return found


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
    if not distributed.all_equal(found.step):
        raise distributed.PeerLost(f"another process found another checkpoint than that of step {found.step}")
    log.info("resuming at step %d", found.step)
    return str(newest)


def _callbacks(settings: TrainingConfig, steps: int, attempt: Attempt) -> list[TrainerCallback]:
    evaluations = max(1, round(settings.num_epochs * settings.evaluations_per_epoch))
    return [
        EvenlySpaced(steps, evaluations),
        TellProgress(attempt, settings.batch_size),
        EarlyStoppingCallback(early_stopping_patience=settings.patience),
    ]


def _scores(found: EvalPrediction, validation: TokenizedDataset) -> dict[str, float]:
    logits = np.asarray(found.predictions, np.float32)
    micro, macro = f1_at_best(logits, validation.targets, validation.task, label_required=validation.label_required)
    return {"micro_f1": micro, "macro_f1": macro}
