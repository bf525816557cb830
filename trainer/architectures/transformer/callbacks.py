# ruff: noqa: ARG002 - the Trainer hands everything to every callback, by name
"""What happens beside the steps of a fine-tuning: evaluation, lines in the log, checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.storage import StorageUnavailable
from trainer.architectures import distributed
from trainer.attempt import Attempt
from trainer.run.checkpoints import Checkpoints
from trainer.run.logs import fields

log = logging.getLogger(__name__)

SCORE, MACRO = "eval_micro_f1", "eval_macro_f1"
RETRY_SECONDS = 60.0  # after which a checkpoint that could not be saved is tried again


class EvenlySpaced(TrainerCallback):
    """Evaluates and saves so many times in all, the last time at the last step."""

    def __init__(self, steps: int, evaluations: int) -> None:
        self._at = {round(steps * each / evaluations) for each in range(1, evaluations + 1)}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Decides by the step's number, which a resumed training has in common with the one before it.

        An evaluation that was abandoned is made up for.
        """
        evaluated = max((each["step"] for each in state.log_history if SCORE in each), default=0)
        if any(evaluated < each <= state.global_step for each in self._at):
            control.should_evaluate = control.should_save = control.should_log = True


class TellProgress(TrainerCallback):
    """Lines in the log, a bar on a terminal, and what Prometheus and MLflow are told.

    Time that evaluations take is not counted as training.
    """

    def __init__(self, attempt: Attempt, batch_size: int) -> None:
        self._metrics = attempt.metrics
        self._tracker = attempt.tracker
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
        self._metrics.progressed(state.global_step, steps=state.max_steps, epoch=state.epoch or 0)
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
        found, step = logs or {}, state.global_step
        if SCORE in found:
            micro, macro = found[SCORE], found[MACRO]
            values = {"validation_micro_f1": micro, "validation_macro_f1": macro}
            log.info("step %d: validation micro-F1 %.4f, macro-F1 %.4f", step, micro, macro, extra=fields(step=step, **values))
            self._metrics.validated(micro_f1=micro, macro_f1=macro)
            self._tracker.measured(step, values)
        elif "loss" in found and self._steps:
            self._tell_loss(state, found["loss"], found["learning_rate"])

    def _tell_loss(self, state: TrainerState, loss: float, learning_rate: float) -> None:
        seconds = self._seconds / self._steps
        values = {"loss": loss, "learning_rate": learning_rate, "texts_per_second": self._batch_size / seconds}
        left = seconds * (state.max_steps - state.global_step)
        log.info(
            "step %d of %d: loss %.4f, learning rate %.2e, %.0f texts/s, %.0f s left",
            state.global_step, state.max_steps, *values.values(), left,
            extra=fields(step=state.global_step, steps=state.max_steps, epoch=state.epoch, seconds_left=left, **values),
        )  # fmt: skip
        self._metrics.measured(**values)
        self._tracker.measured(state.global_step, {"epoch": state.epoch or 0, **values})
        self._seconds, self._steps = 0.0, 0

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
        log.info("trained for %.2f epochs; best validation micro-F1 %.4f", state.epoch, state.best_metric or 0)


class EvaluationAbandoned(Exception):
    """The process was asked to stop while it was scoring the validation part, which may take minutes."""


class StoreCheckpoints(TrainerCallback):
    """Has the Trainer save every so many minutes and when the process is asked to stop; hands what it writes to the storage.

    In a training of several processes all decide alike, and the first hands over, with the random states of the others.
    """

    def __init__(self, attempt: Attempt, folder: Path, *, minutes: float) -> None:
        """`folder`: where the Trainer writes."""
        self._checkpoints = attempt.checkpoints
        self._interruption = attempt.interruption
        self._metrics = attempt.metrics
        self._folder = folder
        self._seconds = minutes * 60
        self._due = time.monotonic() + self._seconds
        self._failed = -math.inf
        self._stored: set[int] = set()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Asks for a checkpoint, and for the end."""
        now = time.monotonic()
        stop, due, away = distributed.any_rank(self._interruption.asked, now >= self._due, now < self._failed + RETRY_SECONDS)
        if stop:
            self._interruption.asked = True  # maybe of another process: none may go on as if the training were over
            control.should_training_stop, control.should_evaluate = True, False
        if stop or due:
            # A storage that has just failed would fail again, and take the time that is left.
            control.should_save = self._checkpoints is not None and not (stop and away)

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Looks between two batches of an evaluation, too."""
        (stop,) = distributed.any_rank(self._interruption.asked)
        if stop:
            self._interruption.asked = True
            raise EvaluationAbandoned

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Only the first of several processes does it: they hold the same weights."""
        step = state.global_step
        folder = self._folder / f"checkpoint-{step}"
        if distributed.world_size() > 1:
            distributed.gather_files(lambda rank: folder / f"rng_state_{rank}.pth")
        if self._checkpoints is None or not state.is_world_process_zero:
            return
        try:
            for each in (state.best_global_step or step, step):
                self._hand_over(self._checkpoints, each, best_step=state.best_global_step or step)
        except StorageUnavailable as error:  # the next one may succeed, and the training is worth more than this one
            log.warning("no checkpoint was saved at step %d: %s", step, error)
            self._failed = time.monotonic()
            self._due = self._failed + min(self._seconds, RETRY_SECONDS)
        else:
            self._due = time.monotonic() + self._seconds
            self._metrics.checkpoint_saved()
            log.info("saved a checkpoint at step %d", step, extra=fields(step=step))

    def _hand_over(self, checkpoints: Checkpoints, step: int, *, best_step: int) -> None:
        """The best one may have to be made up for, if the storage was away when it was new."""
        folder = self._folder / f"checkpoint-{step}"
        if step not in self._stored and folder.is_dir():
            checkpoints.save(folder, step=step, best_step=best_step)
            self._stored.add(step)
