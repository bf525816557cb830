"""Track a run in MLflow, if that is configured: settings, dataset, scores, report, model version.

A tracker never raises, and the run does not wait for it. Data that MLflow does not accept at once wait in an `Outbox`. A
warning at the end names what was not delivered.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from model.artifact import MANIFEST, REPORT, to_json
from model.gate import GateRecord
from model.manifest import Dataset, Manifest
from model.scores import Scores
from trainer.config.settings import Config, TrackingConfig
from trainer.errors import ConfigRejected, Terminated
from trainer.tracking.mlflow_server import DatasetFacts, Measurement, MlflowServer, Resume, RunFacts, without_credentials
from trainer.tracking.outbox import Outbox, Refused

log = logging.getLogger(__name__)

GATE = {True: "passed", False: "failed", None: "not asked"}
BEGIN_SECONDS, END_SECONDS, KILLED_SECONDS = 10.0, 30.0, 5.0  # maximum waits for MLflow
MAX_WAITING_MEASUREMENTS = 100_000
KILLED_BY = (Terminated, KeyboardInterrupt)
# Settings that do not change the model; some may hold credentials.
NO_PARAMETERS = {"tracking", "progress", "checkpoints", "result_file", "version", "name"}


class Status(StrEnum):
    """Final status of a run in MLflow."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Tracker(Protocol):
    """Experiment tracker of a run. No method raises."""

    @property
    def run_id(self) -> str | None:
        """Id of the run in MLflow; None if it is not known."""

    def begin(self, config: Config, dataset: Dataset, *, run_id: str | None = None, only_interrupted: bool = False) -> str | None:
        """Begin or resume the run, once its version and dataset are known. Return its id if MLflow answers in time.

        An interrupted run of the same classifier, version and dataset is resumed: `run_id`, or the one that MLflow has. With
        `training.from_scratch`, a new run is created. only_interrupted: record nothing if there is no run to resume; for a
        version that an earlier attempt published, maybe without recording it.
        """

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """Record values at an optimizer step, such as `loss`. Steps that an interrupted attempt has recorded are left out."""

    def published(self, manifest: Manifest, report: Path, *, uri: str, gate: GateRecord) -> None:
        """Record that the version is published at `uri`. report: file that exists until `end`."""

    def end(self, status: Status) -> None:
        """End the run, and wait for a bounded time until all is sent. Later calls do nothing."""


def open_tracker(settings: TrackingConfig) -> Tracker:
    """Return the configured tracker. Raises ConfigRejected if `tracking.uri` is not the address of an MLflow server."""
    uri = settings.uri
    if not uri:
        return Untracked()
    if urlsplit(uri).scheme not in ("http", "https") or not urlsplit(uri).hostname:
        raise ConfigRejected(f"tracking.uri is {without_credentials(uri)!r}: expected http:// or https:// of an MLflow server")
    return MlflowTracker(uri, artifacts=settings.artifacts)


@contextmanager
def tracked(settings: TrackingConfig) -> Iterator[Tracker]:
    """Yield the tracker of a run, and end the run with the block: FINISHED, KILLED if it was asked to stop, or FAILED."""
    tracker = open_tracker(settings)
    try:
        yield tracker
    except BaseException as error:
        tracker.end(Status.KILLED if isinstance(error, KILLED_BY) else Status.FAILED)
        raise
    tracker.end(Status.FINISHED)


class Untracked:
    """Tracker that records nothing."""

    run_id: str | None = None

    def begin(
        self,
        config: Config,  # noqa: ARG002
        dataset: Dataset,  # noqa: ARG002
        *,
        run_id: str | None = None,  # noqa: ARG002
        only_interrupted: bool = False,  # noqa: ARG002
    ) -> str | None:
        return None

    def measured(self, step: int, values: Mapping[str, float]) -> None: ...

    def published(self, manifest: Manifest, report: Path, *, uri: str, gate: GateRecord) -> None: ...

    def end(self, status: Status) -> None: ...


class MlflowTracker:
    """Tracker of a run in MLflow."""

    def __init__(self, uri: str, *, artifacts: str | None = None, end_seconds: float = END_SECONDS) -> None:
        """Take artifacts: as in the settings; end_seconds: maximum wait of `end`. Nothing is sent before `begin`."""
        self.run_id: str | None = None
        self._uri, self._artifacts = uri, artifacts
        self._end_seconds = end_seconds
        self._measurements: deque[Measurement] = deque()
        self._recorded: dict[str, int] = {}  # the last step of each metric that an interrupted attempt has recorded
        self._given_up = self._full = False
        self._server: MlflowServer | None = None
        self._outbox: Outbox | None = None

    @property
    def _shown(self) -> str:
        return f"MLflow at {without_credentials(self._uri)}"

    def begin(self, config: Config, dataset: Dataset, *, run_id: str | None = None, only_interrupted: bool = False) -> str | None:
        self._server, self._outbox = MlflowServer(self._uri, artifacts=self._artifacts), Outbox(self._shown)
        facts = run_facts(config, dataset)
        given = DatasetFacts(config.name, without_credentials(dataset.uri), dataset.sha256, dataset.rows)
        resume: Resume = "only" if only_interrupted else "never" if config.training.from_scratch else "if there is one"
        self._put("the run", lambda _, server: self._begin(server, facts, run_id, resume=resume))
        self._put("the dataset", lambda run, server: server.add_dataset(run, given))
        self._outbox.flush(BEGIN_SECONDS)
        return self.run_id

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        when = int(time.time() * 1000)
        self._add(Measurement(name, float(value), step, when) for name, value in values.items())

    def published(self, manifest: Manifest, report: Path, *, uri: str, gate: GateRecord) -> None:
        when = int(time.time() * 1000)
        tags = version_tags(manifest, gate)
        self._add(Measurement(name, value, 0, when) for name, value in final_scores(manifest).items())
        self._put("the gate's result", lambda run, server: server.add_tags(run, {**tags, "labelwright.uri": uri}))
        self._put(REPORT, lambda run, server: server.add_file(run, report))
        self._put(MANIFEST, lambda run, server: server.add_text(run, MANIFEST, to_json(manifest).decode()))
        self._put("the model version", lambda run, server: server.register(run, manifest.classifier, source=uri, tags=tags))

    def end(self, status: Status) -> None:
        if self._outbox is None:
            return
        if self._measurements:
            self._put("measurements", self._send_measurements)
        self._put("the end", lambda run, server: server.end(run, status))
        killed = status is Status.KILLED
        seconds = min(KILLED_SECONDS, self._end_seconds) if killed else self._end_seconds
        # A server that has never answered is not waited for.
        missing = self._outbox.close(seconds, insist=self.run_id is not None and not killed)
        self._outbox = None
        if missing:
            log.warning("%s lacks data of this run: %s", self._shown, ", ".join(missing))

    def _begin(self, server: MlflowServer, facts: RunFacts, run_id: str | None, *, resume: Resume) -> None:
        try:
            begun = server.begin(facts, run_id, resume=resume)
        except Refused:
            self._given_up = True
            raise
        if begun is None:
            self._given_up = True
            return
        self.run_id, self._recorded = begun
        log.info("%s: run %s of the experiment %s", self._shown, self.run_id, facts.experiment)

    def _put(self, what: str, send: Callable[[str, MlflowServer], None]) -> None:
        server, outbox = self._server, self._outbox
        if server and outbox:
            outbox.put(what, lambda: None if self._given_up else send(self.run_id or "", server))

    def _add(self, measurements: Iterator[Measurement]) -> None:
        if self._outbox is None or self._full:
            return
        self._measurements.extend(measurements)
        self._put("measurements", self._send_measurements)
        if len(self._measurements) > MAX_WAITING_MEASUREMENTS:
            self._full = True
            log.warning("%d measurements wait for %s: later ones are dropped", len(self._measurements), self._shown)

    def _send_measurements(self, run_id: str, server: MlflowServer) -> None:
        """Send the measurements, and remove them once they are recorded or refused. Called on the outbox's thread only."""
        while count := len(self._measurements):
            measurements = list(islice(self._measurements, count))
            new = [each for each in measurements if _is_final(each.name) or each.step > self._recorded.get(each.name, -1)]
            refused: Refused | None = None
            try:
                server.add_measurements(run_id, new)
            except Refused as error:
                refused = error
            for _ in measurements:
                self._measurements.popleft()
            if refused:
                raise refused


def run_facts(config: Config, dataset: Dataset) -> RunFacts:
    """Return the run's name, tags and parameters in MLflow."""
    version = config.version or ""
    return RunFacts(
        experiment=config.tracking.experiment or config.name,
        name=version,
        tags={
            "labelwright.classifier": config.name,
            "labelwright.version": version,
            "labelwright.dataset_sha256": dataset.sha256,
        },
        parameters=parameters(config, dataset),
    )


def parameters(config: Config, dataset: Dataset) -> dict[str, str]:
    """Return all settings that may change the result, and the dataset, by name. Values are JSON, except strings."""
    named = dict(_flattened(config.model_dump(mode="json", exclude=NO_PARAMETERS)))
    named |= {"dataset.sha256": dataset.sha256, "dataset.rows": dataset.rows}
    if dataset.test:
        named |= {"dataset.test_sha256": dataset.test.sha256, "dataset.test_rows": dataset.test.rows}
    if learnt := dataset.corrections:
        named |= {f"dataset.corrections_{name}": getattr(learnt, name) for name in ("sha256", "corrected", "added", "left_out")}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in named.items()}
    return {name: without_credentials(text) for name, text in texts.items()}


def final_scores(manifest: Manifest) -> dict[str, float]:
    """Return the scores and the cost of the version, by name: `test/micro_f1`, `cost/cpu_seconds`."""
    scores, training = manifest.scores, manifest.training
    parts = {
        "test": scores.test,
        "validation": scores.validation,
        "baseline/test": scores.baseline.test,
        "baseline/validation": scores.baseline.validation,
    }
    values = {f"{part}/{name}": value for part, of in parts.items() for name, value in _summary(of).items()}
    cost = ("seconds", "cpu_seconds", "gpu_seconds", "peak_memory_bytes")
    values |= {f"cost/{name}": float(getattr(training, name)) for name in cost}
    return {**values, "cost/milliseconds_per_text": scores.milliseconds_per_text}


def version_tags(manifest: Manifest, gate: GateRecord) -> dict[str, str]:
    """Return the tags of a model version and of its run; for a refused version with the reason."""
    failed = {"labelwright.gate_reason": gate.verdict.message} if gate.passed is False else {}
    return failed | {
        "labelwright.gate": GATE[gate.passed],
        "labelwright.version": manifest.version,
        "labelwright.dataset_sha256": manifest.dataset.sha256,
    }


def _summary(scores: Scores) -> dict[str, float]:
    summary: dict[str, float] = scores.model_dump(exclude={"texts", "per_label"})
    return summary


def _flattened(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and name != "aliases":  # one setting, whose keys are labels
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_final(series: str) -> bool:
    """Return whether a metric is a score of the version, not a value per step: its name has a slash."""
    return "/" in series
