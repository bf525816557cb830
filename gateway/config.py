"""Settings of API and workers, from options of the command and from environment variables.

A variable is named LABELWRIGHT_GATEWAY__ and the setting, for example LABELWRIGHT_GATEWAY__REDIS. The two underscores keep it
apart from the variables that Kubernetes sets for a Service named `labelwright-gateway`. Options override variables.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from model.escaping import printable
from model.fields import Name, Strict, as_end_of_sentence

PREFIX = "LABELWRIGHT_GATEWAY__"
DAY = 86_400.0
HOST_ENTRY = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(:[1-9][0-9]{0,4})?")
CLASSIFIER_LABEL = "labelwright.dev/classifier"


class SettingRejected(Exception):
    """A setting is wrong; the message names the setting, its value and what was expected."""


class GatewayConfig(Strict):
    """Settings of one process of the gateway. The API ignores settings that only workers use, and the reverse."""

    redis: str = Field(pattern=r"^rediss?://", description="address of Redis or Valkey, such as redis://:PASSWORD@redis:6379/0")
    predictors: dict[Name, str] = Field(default={}, description="classifiers and the addresses of their predictors")
    discover_namespace: str | None = Field(
        default=None,
        validate_default=True,
        pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description=f"Kubernetes namespace whose InferenceServices with the label {CLASSIFIER_LABEL} are classifiers, too",
    )
    default_classifier: Name | None = Field(
        default=None,
        description="classifier of requests that name none; by default the first predictor, or the only classifier found",
    )
    id_secret_file: Path | None = Field(
        default=None, description="file with the secret that signs ids, at least 16 bytes; the same for all API processes"
    )
    tokens_file: Path | None = Field(
        default=None, description="JSON file of the tokens that clients may use; if missing, no token is accepted"
    )
    anonymous: bool = Field(default=False, description="accept requests without a token")
    host: str = Field(default="127.0.0.1", description="IP address on which the API listens")
    port: int = Field(default=8000, ge=0, le=65535, description="port of the API; 0 takes any free port")
    metrics_port: int = Field(default=0, ge=0, le=65535, description="port of a worker's metrics; 0 opens none")
    retention_seconds: float = Field(
        default=7 * DAY, gt=0, description="time for which a task is kept after its outcome, and a correction after it is stored"
    )
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, description="largest number of bytes of a request")
    max_texts: int = Field(
        default=1024, ge=1, description="largest number of texts of a request; should not exceed the predictor's limit"
    )
    max_characters: int = Field(
        default=1_000_000, ge=1, description="largest number of characters of a text; should not exceed the predictor's limit"
    )
    max_request_characters: int = Field(
        default=4_000_000, ge=1, description="largest number of characters of all texts of a request"
    )
    max_open_tasks: int = Field(
        default=100_000, ge=1, description="largest number of open tasks; further submissions get status 503"
    )
    max_open_bytes: int = Field(default=256 * 2**20, ge=1024, description="largest number of bytes of the texts of open tasks")
    max_wait_seconds: float = Field(default=30, ge=0, description="longest time that a request may wait for the outcome")
    lease_seconds: float = Field(
        default=60,
        gt=0,
        description="time for which a task belongs to the worker that claimed it; then another worker may claim it",
    )
    request_seconds: float = Field(
        default=45, gt=0, description="time-out of a request to a predictor; must be less than lease_seconds"
    )
    max_failures: int = Field(
        default=5,
        ge=1,
        description="failures after which a task fails: killed workers, time-outs, internal errors of the predictor",
    )
    max_delay_seconds: float = Field(default=30, gt=0, description="longest delay until a task is tried again")
    patience_seconds: float = Field(
        default=DAY, gt=0, description="time for which a task waits for a predictor that is away, and a webhook for its receiver"
    )
    webhook_hosts: tuple[str, ...] = Field(
        default=(),
        description="hosts to which webhooks may go, such as hooks.example.com, hooks.example.com:8443 or *.example.com",
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="file with the secrets that sign webhooks, one in each line"
    )
    concurrency: int = Field(
        default=8, ge=1, le=256, description="largest number of requests that a worker sends at the same time"
    )
    grace_seconds: float = Field(default=20, ge=0, description="time that the API gives its requests to finish when it stops")
    feedback_uri: str | None = Field(
        default=None, description="storage of corrections, such as s3://feedback/; without it, corrections are not accepted"
    )
    allow_new_labels: bool = Field(default=False, description="accept corrections with labels that the classifier does not have")
    max_held_corrections: int = Field(
        default=100_000, ge=1, description="largest number of held corrections of a classifier; further ones get status 503"
    )
    flush_seconds: float = Field(
        default=5, ge=0, description="longest time until corrections are stored; 500 of a classifier are stored at once"
    )
    log_format: Literal["text", "json"] = Field(default="json", description="format of the log: text or json")

    @field_validator("predictors", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        """Read the form of an environment variable, `papers=http://papers products=http://products`."""
        if not isinstance(value, str):
            return value
        pairs = [each.partition("=") for each in value.split()]
        return {name: address for name, _, address in pairs}

    @field_validator("predictors")
    @classmethod
    def _are_addresses(cls, value: dict[str, str]) -> dict[str, str]:
        for name, address in value.items():
            if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname:
                raise ValueError(f"{name} has {address!r}: expected an address such as http://{name}-predictor")
        return {name: address.rstrip("/") for name, address in value.items()}

    @field_validator("webhook_hosts", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        """Read the form of an environment variable: hosts with spaces between them."""
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("webhook_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not HOST_ENTRY.fullmatch(host):
                raise ValueError(f"expected a host in lower case, optionally with *. before or a port after it, found {host!r}")
        return value

    @field_validator("discover_namespace")
    @classmethod
    def _knows_some_classifier(cls, value: str | None, info: Any) -> str | None:
        if value is None and info.data.get("predictors") == {}:
            raise ValueError("expected a namespace, or --predictor NAME=ADDRESS")
        return value

    @field_validator("request_seconds")
    @classmethod
    def _is_below_the_lease(cls, value: float, info: Any) -> float:
        if "lease_seconds" in info.data and value >= info.data["lease_seconds"]:
            raise ValueError(f"expected less than lease_seconds, {info.data['lease_seconds']:g}")
        return value

    def id_secret(self) -> bytes:
        """Return the secret that signs ids. Raises SettingRejected."""
        if self.id_secret_file is None:
            raise SettingRejected(
                "--id-secret-file is missing: expected a file of at least 16 bytes, the same for all API processes"
            )
        try:
            secret = self.id_secret_file.read_bytes().strip()
        except OSError as error:
            raise SettingRejected(f"id_secret_file is {str(self.id_secret_file)!r}: {error.strerror}") from error
        if len(secret) < 16:
            raise SettingRejected(f"id_secret_file {str(self.id_secret_file)!r} has {len(secret)} bytes: expected at least 16")
        return secret

    def environment(self) -> dict[str, str]:
        """Return environment variables from which another process reads the same settings."""
        given = self.model_dump(mode="json", exclude_none=True)
        given["predictors"] = " ".join(f"{name}={address}" for name, address in self.predictors.items())
        given["webhook_hosts"] = " ".join(self.webhook_hosts)
        return {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items()}


def read(options: Mapping[str, Any], environment: Mapping[str, str]) -> GatewayConfig:
    """Return the settings. options: values by field name; None if an option is not given. Raises SettingRejected."""
    variables = {key.removeprefix(PREFIX).lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
    given = {key: value for key, value in options.items() if value is not None}
    try:
        return GatewayConfig.model_validate(variables | given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        where = f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"
        if first["type"] == "missing":
            raise SettingRejected(f"--{name.replace('_', '-')} is missing, and so is the variable {where}") from error
        value = "set" if name == "redis" else repr(first["input"])  # the address may hold a password
        raise SettingRejected(printable(f"{where} is {value}: {as_end_of_sentence(first['msg'])}")) from error


def describe(name: str) -> str:
    """Return the help text of the setting's option: its description and its default."""
    field = GatewayConfig.model_fields[name]
    text = (field.description or "").rstrip(".")
    if field.is_required() or field.default in (None, ()):
        return f"{text[:1].upper()}{text[1:]}."
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    return f"{text[:1].upper()}{text[1:]}. [default: {default}]"
