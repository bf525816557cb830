# ruff: noqa: ARG002 - the Trainer hands everything to every callback, by name
"""Callbacks of a fine-tuning: when to evaluate, progress, checkpoints."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from model.storage import StorageUnavailable
from trainer.architectures import distributed
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.run.checkpoint_store import Checkpoints
from trainer.run.logs import fields

log = logging.getLogger(__name__)

SCORE, MACRO = "eval_micro_f1", "eval_macro_f1"
RETRY_SECONDS = 60.0  # between attempts to save a checkpoint


class EvenlySpaced(TrainerCallback):
    """Evaluate and save at evenly spaced steps, the last time at the last step."""

    def __init__(self, steps: int, evaluations: int) -> None:
        self._at = {round(steps * each / evaluations) for each in range(1, evaluations + 1)}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for an evaluation and a checkpoint at these steps.

        Only the number of the step matters, so a resumed training evaluates at the same steps.
        """
        if self.is_due(state):
            control.should_evaluate = control.should_save = control.should_log = True

    def is_due(self, state: TrainerState) -> bool:
        """Tell whether an evaluation is due at the current step, or was due before and abandoned."""
        evaluated = max((each["step"] for each in state.log_history if SCORE in each), default=0)
        return any(evaluated < each <= state.global_step for each in self._at)


class ReportProgress(TrainerCallback):
    """Report progress to the log, a bar on a terminal, Prometheus and MLflow.

    Time of evaluations does not count as training time.
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
        """Open the bar."""
        log.info("training for %d steps of %d texts", state.max_steps, self._batch_size)
        if sys.stderr.isatty():
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", leave=False)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the clock, and report the step."""
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
        """Report the loss, or the scores on the validation part."""
        measured, step = logs or {}, state.global_step
        if SCORE in measured:
            micro, macro = measured[SCORE], measured[MACRO]
            values = {"validation_micro_f1": micro, "validation_macro_f1": macro}
            log.info("step %d: validation micro-F1 %.4f, macro-F1 %.4f", step, micro, macro, extra=fields(step=step, **values))
            self._metrics.validated(micro_f1=micro, macro_f1=macro)
            self._tracker.measured(step, values)
        elif "loss" in measured and self._steps:
            self._report_loss(state, measured["loss"], measured["learning_rate"])

    def _report_loss(self, state: TrainerState, loss: float, learning_rate: float) -> None:
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
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
        log.info("trained for %.2f epochs; best validation micro-F1 %.4f", state.epoch, state.best_metric or 0)


class EvaluationAbandoned(Exception):
    """The process was asked to stop during an evaluation, which may take minutes."""


class StoreCheckpoints(TrainerCallback):
    """Save a checkpoint at an interval and when the process is asked to stop, and upload it to the storage.

    All ranks make the same decision. Rank 0 uploads, with the random states of the other ranks.
    """

    def __init__(self, attempt: Attempt, folder: Path, *, minutes: float) -> None:
        """Upload from `folder`, the Trainer's output folder, every `minutes`."""
        self._checkpoints = attempt.checkpoints
        self._interruption = attempt.interruption
        self._metrics = attempt.metrics
        self._folder = folder
        self._seconds = minutes * 60
        self._due = time.monotonic() + self._seconds
        self._failed = -math.inf
        self._stored: set[int] = set()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask the Trainer for a checkpoint if one is due, and to stop if this or another rank was asked to stop."""
        now = time.monotonic()
        stop, due, unavailable = distributed.any_rank(
            self._interruption.asked, now >= self._due, now < self._failed + RETRY_SECONDS
        )
        if stop:
            self._interruption.asked = True  # maybe on another rank only: no rank may take the training for finished
            control.should_training_stop, control.should_evaluate = True, False
        if stop or due:
            # A storage that has just failed would probably fail again, and use up the time until SIGKILL.
            control.should_save = self._checkpoints is not None and not (stop and unavailable)

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Abandon the evaluation if a rank was asked to stop."""
        (stop,) = distributed.any_rank(self._interruption.asked)
        if stop:
            self._interruption.asked = True
            raise EvaluationAbandoned

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Upload the checkpoint on rank 0; all ranks have the same weights."""
        step = state.global_step
        folder = self._folder / f"checkpoint-{step}"
        if distributed.world_size() > 1:
            distributed.gather_files(lambda rank: folder / f"rng_state_{rank}.pth")
        if self._checkpoints is None or not state.is_world_process_zero:
            return
        try:
            for each in (state.best_global_step or step, step):
                self._upload(self._checkpoints, each, best_step=state.best_global_step or step)
        except StorageUnavailable as error:  # the training continues; the next upload may succeed
            log.warning("no checkpoint was saved at step %d: %s", step, error)
            self._failed = time.monotonic()
            self._due = self._failed + min(self._seconds, RETRY_SECONDS)
        else:
            self._due = time.monotonic() + self._seconds
            self._metrics.checkpoint_saved()
            log.info("saved a checkpoint at step %d", step, extra=fields(step=step))

    def _upload(self, checkpoints: Checkpoints, step: int, *, best_step: int) -> None:
        """Upload the checkpoint of `step` unless that was done; the best one may be older, if its upload failed."""
        folder = self._folder / f"checkpoint-{step}"
        if step not in self._stored and folder.is_dir():
            checkpoints.save(folder, step=step, best_step=best_step)
            self._stored.add(step)


def callbacks_of(config: Config, evaluations: EvenlySpaced, *, attempt: Attempt, folder: Path) -> list[TrainerCallback]:
    """Return the callbacks of a fine-tuning: evaluation, progress, early stopping, checkpoints."""
    settings = config.training
    return [
        evaluations,
        ReportProgress(attempt, settings.batch_size),
        EarlyStoppingCallback(early_stopping_patience=settings.patience),
        StoreCheckpoints(attempt, folder, minutes=config.checkpoints.every_minutes),
    ]
