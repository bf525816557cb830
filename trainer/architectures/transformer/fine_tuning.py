"""Fine-tune a network with transformers' Trainer, with our own batches, loss and evaluation."""

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
from transformers import EvalPrediction, PrinterCallback, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from typing_extensions import override

from model.cores import memory_limit
from trainer.architectures import devices, distributed
from trainer.architectures.transformer import memory
from trainer.architectures.transformer.callbacks import EvaluationAbandoned, EvenlySpaced, callbacks_of
from trainer.architectures.transformer.dataset import TokenizedDataset
from trainer.architectures.transformer.losses import loss_function
from trainer.architectures.transformer.network import PooledClassifier
from trainer.architectures.transformer.sampler import LengthGroupedSampler
from trainer.architectures.transformer.validation import f1_at_best
from trainer.attempt import Attempt
from trainer.config.settings import Config, TrainingConfig
from trainer.errors import ConfigRejected
from trainer.run.checkpoint_store import Checkpoints

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Training and validation part, tokenized."""

    train: TokenizedDataset
    validation: TokenizedDataset


@dataclass(frozen=True)
class FineTuned:
    """Result of a fine-tuning. epochs: completed passes over the training part. best_step: step of the network's weights."""

    epochs: float
    best_step: int


class Batches(DataLoader[int]):
    """Data loader whose order depends on the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; the Trainer calls this when one begins."""
        order: Any = self.sampler
        order.set_epoch(epoch)


class FineTuning(Trainer):
    """Trainer with length-grouped batches, a separate learning rate for the head, and handling of short memory."""

    def __init__(
        self,
        network: PooledClassifier,
        train: TokenizedDataset,
        settings: TrainingConfig,
        evaluations: EvenlySpaced,
        **others: Any,
    ) -> None:
        super().__init__(network, train_dataset=train, **others)
        self._evaluations = evaluations
        self._network = network
        self._train = train
        self._settings = settings
        self._pieces = 1
        self._memory_limit = memory_limit()

    def create_optimizer(self) -> torch.optim.Optimizer:
        """Return AdamW with a higher learning rate for the head, whose weights start at random."""
        if self.optimizer is None:
            groups = parameter_groups(self._network, self._settings)
            self.optimizer = torch.optim.AdamW(groups, lr=self._settings.learning_rate, fused=True)
        return self.optimizer

    def get_train_dataloader(self) -> Any:
        """Return batches of texts of similar length; each rank gets its share of every batch."""
        order = LengthGroupedSampler(
            self._train.lengths,
            batch_size=self._settings.batch_size,
            seed=self.args.seed,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
        )
        return Batches(self._train, self.args.per_device_train_batch_size, sampler=order, collate_fn=self._train.batch)

    @override
    def _evaluate(self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False) -> Any:
        """Return the scores on the validation part.

        The Trainer also calls this before the first step of a resumed training, with `skip_scheduler`. It then evaluates
        only what the attempt before abandoned, so that the scores belong to the step that they were meant for.
        """
        evaluate: Any = super()._evaluate
        if not skip_scheduler:
            return evaluate(trial, ignore_keys_for_eval)
        if not self._evaluations.is_due(self.state):
            return {}
        scores = evaluate(trial, ignore_keys_for_eval, skip_scheduler=True)
        note_best: Any = self._determine_best_metric
        note_best(scores, trial)
        return scores

    def training_step(self, model: Any, inputs: dict[str, Tensor], num_items_in_batch: Tensor | None = None) -> Tensor:
        """Return the loss of a batch and add up its gradients. Once memory is short, compute each batch in pieces."""
        step = super().training_step
        return torch.stack(self._in_pieces(model, inputs, lambda piece: step(model, piece, num_items_in_batch))).sum()

    def prediction_step(self, model: Any, inputs: dict[str, Tensor], *others: Any, **more: Any) -> Any:
        """Return loss, logits [texts, labels] and labels of a batch, computed in as many pieces as `training_step` uses."""
        step = super().prediction_step
        parts = self._in_pieces(model, inputs, lambda piece: step(model, piece, *others, **more))
        return tuple(
            None if part[0] is None else torch.cat([each.reshape(-1) if each.ndim == 0 else each for each in part])
            for part in zip(*parts, strict=True)
        )

    def _in_pieces(self, model: Any, inputs: dict[str, Tensor], do: Callable[[dict[str, Any]], Any]) -> list[Any]:
        """Return `do` of each piece of the batch. If memory is short, start again with pieces of half the size."""
        texts = len(inputs["labels"])
        while True:
            size = math.ceil(texts / self._pieces)
            try:
                with memory.bounded(self._memory_limit - self._optimizer_bytes()):
                    return [do({name: part[at : at + size] for name, part in inputs.items()}) for at in range(0, texts, size)]
            except (RuntimeError, MemoryError) as error:
                if not memory.is_short(error):
                    raise
                problem = str(error).split("\n", 1)[0]
            self._halve(model, size, problem)

    def _optimizer_bytes(self) -> int:
        """Return the bytes that the optimizer will allocate at its first step: two numbers per parameter; 0 afterwards."""
        begun = self.optimizer is not None and bool(self.optimizer.state)
        return 0 if begun else sum(2 * each.numel() * each.element_size() for each in self._network.parameters())

    def _halve(self, model: Any, size: int, problem: str) -> None:
        """Halve the number of texts that are computed at once. Raises ConfigRejected if it is 1, or with several ranks."""
        if size == 1 or distributed.world_size() > 1:
            raise ConfigRejected(
                f"training.batch_size is {self._settings.batch_size}, {size} at once: out of memory ({problem}); "
                "expected a smaller training.batch_size or training.max_length, or more memory"
            )
        model.zero_grad()
        memory.give_back_at_once()
        memory.release()
        self._pieces *= 2
        log.warning("out of memory with %d texts at once: each step is now computed in %d pieces", size, self._pieces)


def fine_tune(network: PooledClassifier, data: TrainingData, config: Config, *, folder: Path, attempt: Attempt) -> FineTuned:
    """Train `network` in place; it ends with the weights that were best on validation.

    folder: for the Trainer's files. If the attempt has checkpoints, training resumes from them and saves to them. Raises
    Terminated, after a checkpoint, if the attempt was asked to stop.
    """
    settings = config.training
    steps = total_steps(len(data.train), settings)
    resume = restore(attempt.checkpoints, folder) if attempt.checkpoints else None
    evaluations = EvenlySpaced(steps, max(1, round(settings.num_epochs * settings.evaluations_per_epoch)))
    args = arguments(settings, steps, folder, resumable=attempt.checkpoints is not None)
    args.eval_on_start = resume is not None
    trainer = FineTuning(
        network,
        data.train,
        settings,
        evaluations,
        args=args,
        eval_dataset=data.validation,
        data_collator=data.validation.batch,
        compute_loss_func=loss_function(data.train.targets, data.train.task, config.balance),
        compute_metrics=lambda predictions: _scores(predictions, data.validation),
        callbacks=callbacks_of(config, evaluations, attempt=attempt, folder=folder),
    )
    # It would print to standard output, which is for the command's result.
    trainer.remove_callback(PrinterCallback)  # type: ignore[no-untyped-call]
    torch.manual_seed(settings.seed + distributed.rank())  # otherwise all ranks would drop the same activations
    with attempt.interruption.deferred(), distributed.peer_errors(), warnings.catch_warnings():
        # For checkpoints less than a second apart. The Trainer then orders them by step, which is correct.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        _train(trainer, resume)
    memory.release()  # for the export
    trainer.accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # it wrapped `forward` for mixed precision
    state = trainer.state
    return FineTuned(float(state.epoch or 0), state.best_global_step or state.global_step)


def _train(trainer: FineTuning, resume: str | None) -> None:
    try:
        trainer.train(resume_from_checkpoint=resume)
    except EvaluationAbandoned:
        if trainer.state.global_step == trainer.state.max_steps:
            return  # a resumed training would have no step left for the evaluation: keep the previous checkpoint
        save: Any = trainer._save_checkpoint  # noqa: SLF001 - as its own loop does
        save(trainer.model, trial=None)
        trainer.callback_handler.on_save(trainer.args, trainer.state, trainer.control)


def total_steps(texts: int, settings: TrainingConfig) -> int:
    """Return the number of optimizer steps of the whole training."""
    return math.ceil(math.ceil(texts / settings.batch_size) * settings.num_epochs)


def arguments(settings: TrainingConfig, steps: int, folder: Path, *, resumable: bool) -> TrainingArguments:
    """Return the Trainer's arguments. The callbacks decide when it evaluates and saves.

    Raises ConfigRejected if the ranks cannot share a batch evenly.
    """
    share, rest = divmod(settings.batch_size, distributed.world_size())
    if rest or not share:
        raise ConfigRejected(
            f"training.batch_size is {settings.batch_size}: expected a multiple of the {distributed.world_size()} processes"
        )
    made = TrainingArguments(
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
        save_total_limit=2,  # on this disk; for the storage, see KEEP in trainer.run.checkpoint_store
        save_only_model=not resumable,
        load_best_model_at_end=True,
        metric_for_best_model="micro_f1",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,  # of early stopping
        label_names=["labels"],
        remove_unused_columns=False,
        logging_nan_inf_filter=False,  # it would wait for the device after every step, and hide infinite losses
        report_to="none",
        log_level="error",
        log_level_replica="error",  # they would warn that they lack the best checkpoint, which rank 0 has
        disable_tqdm=True,
    )
    made._n_gpu = min(1, made.n_gpu)  # noqa: SLF001 - otherwise one process would use all GPUs; each process has its own
    return made


def parameter_groups(network: PooledClassifier, settings: TrainingConfig) -> list[dict[str, Any]]:
    """Return the trained parameters by learning rate and weight decay. Biases and norms have no weight decay."""
    encoder = [each for each in network.encoder.parameters() if each.requires_grad]
    rates = [(encoder, settings.learning_rate), (list(network.head.parameters()), settings.head_learning_rate)]
    return [
        {"params": [each for each in part if (each.ndim > 1) is decays], "lr": rate, "weight_decay": decay}
        for part, rate in rates
        for decays, decay in ((True, settings.weight_decay), (False, 0.0))
    ]


def restore(checkpoints: Checkpoints, folder: Path) -> str | None:
    """Fetch the newest checkpoint and the best one into `folder`, named as the Trainer expects. Return the newest's folder."""
    restored = checkpoints.latest(folder / "restored")
    if restored is None:
        return None
    best = folder / f"checkpoint-{restored.best_step}"
    newest = folder / f"checkpoint-{restored.step}"
    restored.folder.rename(newest)
    if best != newest:
        restored.best.rename(best)
    state = json.loads((newest / TRAINER_STATE_NAME).read_text())
    state["best_model_checkpoint"] = str(best)  # the saved path is of the machine that saved it
    (newest / TRAINER_STATE_NAME).write_text(json.dumps(state))
    if not distributed.all_equal(restored.step):
        raise distributed.PeerLost(f"another process would resume from another step than {restored.step}")
    log.info("resuming at step %d", restored.step)
    return str(newest)


def _scores(predictions: EvalPrediction, validation: TokenizedDataset) -> dict[str, float]:
    logits = np.asarray(predictions.predictions, np.float32)
    micro, macro = f1_at_best(logits, validation.targets, validation.task, label_required=validation.label_required)
    return {"micro_f1": micro, "macro_f1": macro}
