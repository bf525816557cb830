# ruff: noqa: ARG002 - the Trainer hands everything to every callback, by name
"""What happens beside the steps of a fine-tuning: evaluation, lines in the log, checkpoints."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.storage import StorageUnavailable
from trainer.checkpoints import Checkpoints

log = logging.getLogger(__name__)


class EvenlySpaced(TrainerCallback):
    """Evaluates and saves so many times in all, the last time at the last step."""

    def __init__(self, steps: int, evaluations: int) -> None:
        self._at = {round(steps * each / evaluations) for each in range(1, evaluations + 1)}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decides by the step's number, which a resumed training has in common with the one before it."""
        if state.global_step in self._at:
            control.should_evaluate = control.should_save = control.should_log = True


class TellProgress(TrainerCallback):
    """Lines in the log, and a bar on a terminal. Time that evaluations take is not counted as training."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._bar: tqdm[NoReturn] | None = None
        self._began = 0.0
        self._seconds = 0.0
        self._steps = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Opens the bar."""
        log.info("training for %d steps of %d texts", state.max_steps, self._batch_size)
        if sys.stderr.isatty():
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", leave=False)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Starts the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stops the clock."""
        self._seconds += time.perf_counter() - self._began
        self._steps += 1
        if self._bar is not None:
            self._bar.update()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """One line for what the Trainer has measured: the loss, or the score on validation."""
        found = logs or {}
        if "eval_micro_f1" in found:
            log.info("step %d: validation micro-F1 %.4f", state.global_step, found["eval_micro_f1"])
        elif "loss" in found and self._steps:
            step = self._seconds / self._steps
            log.info(
                "step %d of %d: loss %.4f, learning rate %.2e, %.0f texts/s, %.0f s left",
                state.global_step, state.max_steps, found["loss"], found["learning_rate"],
                self._batch_size / step, step * (state.max_steps - state.global_step),
            )  # fmt: skip
            self._seconds, self._steps = 0.0, 0

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
        log.info("trained for %.2f epochs; best validation micro-F1 %.4f", state.epoch, state.best_metric or 0)


class StoreCheckpoints(TrainerCallback):
    """Hands every checkpoint that the Trainer writes to the storage."""

    def __init__(self, checkpoints: Checkpoints, folder: Path) -> None:
        """`folder`: where the Trainer writes."""
        self._checkpoints = checkpoints
        self._folder = folder

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Only the first of several processes does it: they hold the same weights."""
        if not state.is_world_process_zero:
            return
        step = state.global_step
        try:
            folder = self._folder / f"checkpoint-{step}"
            self._checkpoints.save(folder, step=step, best_step=state.best_global_step or step)
        except StorageUnavailable as error:  # the next one may succeed, and the training is worth more than this one
            log.warning("no checkpoint was saved at step %d: %s", step, error)
        else:
            log.info("saved a checkpoint at step %d", step)
