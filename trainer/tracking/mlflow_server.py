"""Client of an MLflow server; the only module that imports mlflow. Calls may be repeated; errors are those of `outbox`."""

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
SECONDS = 5  # timeout of a request, unless that variable is set
MEASUREMENTS_PER_REQUEST, TEXTS_AT_ONCE = 1_000, 100  # MLflow's own limits on a request
# MLflow's client sends these credentials to any server.
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
MAX_PARAMETER_CHARACTERS = 500  # the limit of older releases of MLflow
RETRIED = (401, 403, 408, 429)  # 4xx statuses that are retried; credentials may be corrected during the training
BROKEN = r"Connection aborted|Connection broken|Connection reset|RemoteDisconnected"
REASONS = {
    r"Connection refused": "connection refused",
    BROKEN: "the connection was lost",
    r"timed out|ConnectTimeout|ReadTimeout": "timeout",
    r"resolve|Name or service not known": "its name cannot be resolved",
    r"too many (\d+) error responses": r"status \1",
    r"error code (40[13])": r"status \1: the credentials are wrong",
}


@dataclass(frozen=True)
class RunFacts:
    """Name, tags and parameters of a run. An unfinished run with the same tags is resumed."""

    experiment: str
    name: str
    tags: Mapping[str, str]
    parameters: Mapping[str, str]


@dataclass(frozen=True)
class Measurement:
    """Value of a metric. when: milliseconds since 1970."""

    name: str
    value: float
    step: int
    when: int


@dataclass(frozen=True)
class DatasetFacts:
    """Dataset as MLflow lists it."""

    name: str
    uri: str
    sha256: str
    rows: int


class MlflowServer:
    """An MLflow server. Methods raise Refused if the server will never accept the request, ConnectionError otherwise."""

    def __init__(self, uri: str, *, artifacts: str | None = None) -> None:
        """Take uri: http:// or https://; artifacts: address below which files may be written directly. Nothing is sent yet.

        Credentials are those in the uri, or those of the environment if its MLFLOW_TRACKING_URI names the same server.
        """
        _prepare_environment()
        withhold_credentials(uri)
        from mlflow import MlflowClient

        self._uri, self._own_artifacts = uri, artifacts
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def begin(self, facts: RunFacts, run_id: str | None, *, resume: Resume) -> tuple[str, dict[str, int]] | None:
        """Resume or create a run. Return its id and the last step of each of its metrics.

        Unless resume is "never", the run `run_id` is resumed, or else an unfinished run with the same tags. If there is
        none, a run is created; with "only", None is returned instead.
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
        """Add the dataset of the run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        kind = dataset.uri.partition("://")[0]
        profile = f'{{"num_rows": {dataset.rows}}}'
        entry = Dataset(
            dataset.name, dataset.sha256[:36], kind, dataset.uri, profile=profile
        )  # digests have 36 characters at most
        with _sorted_errors():
            self._client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])])

    def add_measurements(self, run_id: str, measurements: Sequence[Measurement]) -> None:
        """Add values of metrics. Adding the same ones again changes nothing."""
        from mlflow.entities import Metric

        with _sorted_errors():
            for start in range(0, len(measurements), MEASUREMENTS_PER_REQUEST):
                part = measurements[start : start + MEASUREMENTS_PER_REQUEST]
                metrics = [Metric(each.name, each.value, each.when, each.step) for each in part]
                self._client.log_batch(run_id, metrics=metrics)

    def add_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags, or change them."""
        from mlflow.entities import RunTag

        with _sorted_errors():
            self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def add_file(self, run_id: str, file: Path) -> None:
        """Add the file as an artifact with its name."""
        with _sorted_errors():
            self._artifacts_of(run_id).log_artifact(str(file))  # type: ignore[no-untyped-call]

    def add_text(self, run_id: str, name: str, text: str) -> None:
        """Add the text as an artifact with that name."""
        with _sorted_errors(), tempfile.TemporaryDirectory(prefix="labelwright-") as folder:
            file = Path(folder, name)
            file.write_text(text, encoding="utf-8")
            self._artifacts_of(run_id).log_artifact(str(file))  # type: ignore[no-untyped-call]

    def register(self, run_id: str, name: str, *, source: str, tags: Mapping[str, str]) -> None:
        """Register `source` as a version of the registered model `name`, unless this run has registered it already."""
        if source.startswith("file:"):  # MLflow's own message takes a paragraph
            raise Refused(f"a model at a local address cannot be registered: {source}")
        with _sorted_errors():
            with _exists_allowed():
                self._client.create_registered_model(name)
            registered = self._client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
            if not any(each.source == source for each in registered):
                self._client.create_model_version(name, source, run_id, tags=dict(tags), await_creation_for=0)

    def end(self, run_id: str, status: str) -> None:
        """Set the run's final status: FINISHED, FAILED or KILLED."""
        with _sorted_errors():
            self._client.set_terminated(run_id, status)

    def _artifacts_of(self, run_id: str) -> ArtifactRepository:
        """Return the repository for the run's files. MLflow's client itself would write to any address that the server names."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        where = self._client.get_run(run_id).info.artifact_uri or ""
        if not may_write_to(where, server=self._uri, own=self._own_artifacts):
            raise Refused(
                f"its artifact address is {safe_line(where)}: expected mlflow-artifacts:/, or an address below tracking.artifacts"
                f" ({safe_line(self._own_artifacts) if self._own_artifacts else 'not set'})"
            )
        return get_artifact_repository(where, tracking_uri=self._uri)

    def _experiment(self, name: str) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            with _exists_allowed():
                return str(self._client.create_experiment(name))
            experiment = self._client.get_experiment_by_name(name)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise Refused(f"its experiment {name!r} is deleted; restore it, or set tracking.experiment")
        return str(experiment.experiment_id)

    def _earlier(self, experiment: str, facts: RunFacts, run_id: str | None) -> Run | None:
        from mlflow.exceptions import MlflowException

        if run_id:
            try:
                earlier = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            else:
                if earlier.info.lifecycle_stage == "active":
                    return earlier
        same = " and ".join(f"tags.`{name}` = '{value}'" for name, value in facts.tags.items())
        runs = self._client.search_runs([experiment], f"{same} and attributes.status != 'FINISHED'", max_results=1)
        return runs[0] if runs else None

    def _add_parameters(self, run: Run, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        new = [(name, value) for name, value in parameters.items() if name not in run.data.params]  # they cannot be changed
        for start in range(0, len(new), TEXTS_AT_ONCE):
            part = [Param(name, value[:MAX_PARAMETER_CHARACTERS]) for name, value in new[start : start + TEXTS_AT_ONCE]]
            self._client.log_batch(run.info.run_id, params=part)

    def _last_steps(self, run: Run) -> dict[str, int]:
        histories = ((name, self._client.get_metric_history(run.info.run_id, name)) for name in run.data.metrics)
        return {name: max((each.step for each in history), default=0) for name, history in histories}


def may_write_to(where: str, *, server: str, own: str | None) -> bool:
    """Return whether files of a run may be written to `where`, an address from the server: via the server, or below `own`.

    Whoever may create an experiment chooses that address, and the run's credentials could overwrite a published version.
    """
    place = urlsplit(where)
    if place.scheme == "mlflow-artifacts":
        return not place.netloc or place.netloc == urlsplit(server).netloc.rpartition("@")[2]
    climbs = ".." in unquote(where).replace("\\", "/").split("/")
    return own is not None and not climbs and where.startswith(f"{own.rstrip('/')}/")


def withhold_credentials(uri: str) -> None:
    """Remove the environment's MLflow credentials unless its MLFLOW_TRACKING_URI names the server at `uri`.

    The author of the setting, such as of a TextClassifier, may not be the owner of the credentials.
    """
    given = [name for name in CREDENTIALS if environment().get(name)]
    named = environment().get(MLFLOW, "")
    if not given or _origin(named) == _origin(uri):
        return
    remove_from_environment(given)
    said = f"is {safe_line(named)}" if named else "is not set"
    log.warning(
        "no credentials are sent to MLflow at %s: %s belong to the server of MLFLOW_TRACKING_URI, which %s; set it beside them",
        safe_line(uri), ", ".join(given), said,
    )  # fmt: skip


def _origin(uri: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port: a token for https must not be sent over http."""
    try:
        parts = urlsplit(uri)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:  # the port is not a number
        return "", uri, None


def safe_line(text: str) -> str:
    """Return an address or a server's message without credentials, on one line, with at most 200 characters."""
    safe = without_credentials(text)[:200]
    return safe if safe.isprintable() else safe.encode("unicode_escape").decode()


def without_credentials(text: str) -> str:
    """Return the text without user names and passwords in addresses."""
    return re.sub(r"://[^/\s'\"]*@", "://", text)


def _prepare_environment() -> None:
    """Set variables that MLflow's client reads from the environment only, some of them when it is imported."""
    add_to_environment(
        {
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_CONFIGURE_LOGGING": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for the command's result
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the outbox retries
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
        if 400 <= status < 500 and status not in RETRIED:
            raise Refused(_first_line(error)) from error
        raise _unavailable(error) from error
    except Refused:
        raise
    except Exception as error:  # clients of artifact stores raise their own errors
        raise _unavailable(error) from error


@contextmanager
def _exists_allowed() -> Iterator[None]:
    """Ignore the error for an object that exists: another process may have created it at the same time."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _unavailable(error: Exception) -> ConnectionError:
    kind = ConnectionResetError if re.search(BROKEN, str(error)) else ConnectionError
    return kind(_reason(error))


def _reason(error: Exception) -> str:
    text = str(error)
    for pattern, reason in REASONS.items():
        if match := re.search(pattern, text):
            return match.expand(reason)
    return _first_line(error)


def _first_line(error: Any) -> str:
    lines = without_credentials(str(error)).strip().splitlines()
    return safe_line(lines[0]) if lines else type(error).__name__
