"""The one door to MLflow: what a tracker does there, each thing safe to repeat, with errors as `outbox` sorts them."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from trainer.config.loading import add_to_environment, environment, remove_from_environment
from trainer.config.settings import MLFLOW
from trainer.tracking.outbox import Refused

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

log = logging.getLogger(__name__)

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
SECONDS = 5  # for an answer, unless that variable says otherwise
POINTS_AT_ONCE, TEXTS_AT_ONCE = 1_000, 100  # MLflow's own limits on a request
# Each of these makes MLflow's client prove to a server, whichever it is, who we are.
CREDENTIALS = (
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)
PORTS = {"http": 80, "https": 443}
Resume = Literal["never", "if there is one", "only"]
LONGEST = 500  # characters of a parameter, the limit of its older releases
TRY_AGAIN = (401, 403, 408, 429)  # of the 4xx; credentials may be put right while the training goes on
BROKEN = r"Connection aborted|Connection broken|Connection reset|RemoteDisconnected"
REASONS = {
    r"Connection refused": "connection refused",
    BROKEN: "the connection broke",
    r"timed out|ConnectTimeout|ReadTimeout": "no answer in time",
    r"resolve|Name or service not known": "its name is not known",
    r"too many (\d+) error responses": r"it answers \1",
    r"error code (40[13])": r"it answers \1: the credentials are wrong",
}


@dataclass(frozen=True)
class RunFacts:
    """What a run is called, and what tells it from others.

    tags: as long as they are all the same and it has not finished, it is the same run that goes on.
    """

    experiment: str
    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Point:
    """A measurement; when: milliseconds since 1970."""

    name: str
    value: float
    step: int
    when: int


@dataclass(frozen=True)
class DatasetFacts:
    """The dataset as MLflow lists it."""

    name: str
    uri: str
    sha256: str
    rows: int


class MlflowServer:
    """An MLflow server. Methods raise Refused for what it will never take, and other exceptions where it is away."""

    def __init__(self, uri: str, *, artifacts: str | None = None) -> None:
        """uri: http:// or https://. artifacts: address below which files may be written without the server. Sends nothing yet.

        Credentials are those in the uri, or those of the environment if its MLFLOW_TRACKING_URI names the same server.
        """
        _prepare_environment()
        withhold_credentials(uri)
        from mlflow import MlflowClient

        self._uri, self._own_artifacts = uri, artifacts
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def begin(self, facts: RunFacts, run_id: str | None, *, resume: Resume) -> tuple[str, dict[str, int]] | None:
        """A run that is going on; its id, and the last step that it has of each series.

        It is the run `run_id`, or else the one of the same tags that has not finished, unless it is never to be resumed;
        if there is none, it is a new one, or None where only to resume is asked for.
        """
        with _sorted_errors():
            experiment = self._experiment(facts.experiment)
            run = None if resume == "never" else self._earlier(experiment, facts, run_id)
            if run is None and resume == "only":
                return None
            if run is None:
                run = self._client.create_run(experiment, tags=dict(facts.tags), run_name=facts.name)
            elif run.info.status != "RUNNING":
                self._client.update_run(run.info.run_id, status="RUNNING")
            self._add_parameters(run, facts.parameters)
            return run.info.run_id, self._last_steps(run)

    def add_dataset(self, run_id: str, dataset: DatasetFacts) -> None:
        """Name the dataset that the run trains on."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        kind = dataset.uri.partition("://")[0]
        profile = f'{{"num_rows": {dataset.rows}}}'
        found = Dataset(dataset.name, dataset.sha256[:36], kind, dataset.uri, profile=profile)  # it holds no more of a digest
        with _sorted_errors():
            self._client.log_inputs(run_id, [DatasetInput(found, [InputTag("mlflow.data.context", "training")])])

    def add_points(self, run_id: str, points: Sequence[Point]) -> None:
        """Add measurements; the same ones again change nothing."""
        from mlflow.entities import Metric

        with _sorted_errors():
            for start in range(0, len(points), POINTS_AT_ONCE):
                part = points[start : start + POINTS_AT_ONCE]
                metrics = [Metric(each.name, each.value, each.when, each.step) for each in part]
                self._client.log_batch(run_id, metrics=metrics)

    def add_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags, or change them."""
        from mlflow.entities import RunTag

        with _sorted_errors():
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def add_file(self, run_id: str, file: Path) -> None:
        """Add an artifact of that file's name."""
        with _sorted_errors():
            self._artifacts_of(run_id).log_artifact(str(file))  # type: ignore[no-untyped-call]

    def add_text(self, run_id: str, name: str, text: str) -> None:
        """Add an artifact of that name."""
        with _sorted_errors(), tempfile.TemporaryDirectory(prefix="labelwright-") as folder:
            file = Path(folder, name)
            file.write_text(text, encoding="utf-8")
            self._artifacts_of(run_id).log_artifact(str(file))  # type: ignore[no-untyped-call]

    def register(self, run_id: str, name: str, *, source: str, tags: Mapping[str, str]) -> None:
        """A version of the registered model `name` that lies at `source`, unless this run has it already."""
        if source.startswith("file:"):  # its own answer takes a paragraph
            raise Refused(f"it registers only what lies on a storage that others reach, and this lies at {source}")
        with _sorted_errors():
            with _there_already():
                self._client.create_registered_model(name)
            found = self._client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
            if not any(each.source == source for each in found):
                self._client.create_model_version(name, source, run_id, tags=dict(tags), await_creation_for=0)

    def end(self, run_id: str, status: str) -> None:
        """The run is FINISHED, FAILED or KILLED."""
        with _sorted_errors():
            self._client.set_terminated(run_id, status)

    def _artifacts_of(self, run_id: str) -> ArtifactRepository:
        """Where the run's files go. Not MLflow's own way, which writes wherever the server says, with whatever keys there are."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        where = self._client.get_run(run_id).info.artifact_uri or ""
        if not may_write_to(where, server=self._uri, own=self._own_artifacts):
            raise Refused(
                f"it wants files written to {shown(where)}: expected mlflow-artifacts:/, or an address below tracking.artifacts"
                f" ({shown(self._own_artifacts) if self._own_artifacts else 'not set'})"
            )
        return get_artifact_repository(where, tracking_uri=self._uri)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            with _there_already():
                return str(self._client.create_experiment(name))
            found = self._client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise Refused(f"its experiment {name!r} is deleted; restore it, or set tracking.experiment")
        return str(found.experiment_id)

    def _earlier(self, experiment: str, facts: RunFacts, run_id: str | None) -> Run | None:
        from mlflow.exceptions import MlflowException

        if run_id:
            try:
                found = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            else:
                if found.info.lifecycle_stage == "active":
                    return found
        same = " and ".join(f"tags.`{name}` = '{value}'" for name, value in facts.tags.items())
        runs = self._client.search_runs([experiment], f"{same} and attributes.status != 'FINISHED'", max_results=1)
        return runs[0] if runs else None

    def _add_parameters(self, run: Run, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        new = [(name, value) for name, value in parameters.items() if name not in run.data.params]  # they cannot be changed
        for start in range(0, len(new), TEXTS_AT_ONCE):
            part = [Param(name, value[:LONGEST]) for name, value in new[start : start + TEXTS_AT_ONCE]]
            self._client.log_batch(run.info.run_id, params=part)

    def _last_steps(self, run: Run) -> dict[str, int]:
        histories = ((name, self._client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics)
        return {name: max((each.step for each in history), default=0) for name, history in histories}


def may_write_to(where: str, *, server: str, own: str | None) -> bool:
    """Whether files of a run may go to `where`, which the server has named: through the server itself, or below `own`.

    Anybody who may make an experiment chooses that address. The run's keys would let it be a published version.
    """
    place = urlsplit(where)
    if place.scheme == "mlflow-artifacts":
        return not place.netloc or place.netloc == urlsplit(server).netloc.rpartition("@")[2]
    climbs = ".." in unquote(where).replace("\\", "/").split("/")
    return own is not None and not climbs and where.startswith(f"{own.rstrip('/')}/")


def withhold_credentials(uri: str) -> None:
    """Remove the environment's MLflow credentials unless its MLFLOW_TRACKING_URI names the server at `uri`.

    Who writes a setting, such as the author of a TextClassifier, may not be who owns the credentials.
    """
    given = [name for name in CREDENTIALS if environment().get(name)]
    named = environment().get(MLFLOW, "")
    if not given or _origin(named) == _origin(uri):
        return
    remove_from_environment(given)
    said = f"is {shown(named)}" if named else "is not set"
    log.warning(
        "no credentials are sent to MLflow at %s: %s belong to the server of MLFLOW_TRACKING_URI, which %s; set it beside them",
        shown(uri), ", ".join(given), said,
    )  # fmt: skip


def _origin(uri: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: a token for https is not to be sent by http."""
    try:
        parts = urlsplit(uri)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:  # of a port that is no number
        return "", uri, None


def shown(text: str) -> str:
    """An address or what a server has said, for a message: without credentials, on one line, 200 characters at most."""
    safe = without_credentials(text)[:200]
    return safe if safe.isprintable() else safe.encode("unicode_escape").decode()


def without_credentials(text: str) -> str:
    """The text, and in addresses neither name nor password."""
    return re.sub(r"://[^/\s'\"]*@", "://", text)


def _prepare_environment() -> None:
    """Settings that MLflow's client takes from the environment alone, some of them while it is imported."""
    add_to_environment(
        {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_CONFIGURE_LOGGING": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # which belongs to the command's result
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox tries again
            TIMEOUT: environment().get(TIMEOUT, str(SECONDS)),
        }
    )


@contextmanager
def _sorted_errors() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        status = error.get_http_status_code()  # type: ignore[no-untyped-call]
        if 400 <= status < 500 and status not in TRY_AGAIN:
            raise Refused(_first_line(error)) from error
        raise _away(error) from error
    except Refused:
        raise
    except Exception as error:  # the clients of the artifacts' store have errors of their own
        raise _away(error) from error


@contextmanager
def _there_already() -> Iterator[None]:
    """Somebody else may make the same at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _away(error: Exception) -> ConnectionError:
    kind = ConnectionResetError if re.search(BROKEN, str(error)) else ConnectionError
    return kind(_reason(error))


def _reason(error: Exception) -> str:
    text = str(error)
    for pattern, reason in REASONS.items():
        if found := re.search(pattern, text):
            return found.expand(reason)
    return _first_line(error)


def _first_line(error: Any) -> str:
    lines = without_credentials(str(error)).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__
