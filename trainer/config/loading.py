"""Load the configuration from a file, the environment and overrides; later ones win. No other module reads the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from model.fields import as_end_of_sentence
from trainer.config.settings import MLFLOW, PREFIX, SECTIONS, Config
from trainer.errors import ConfigRejected
from trainer.shown_values import MOST_CHARACTERS, escaped, shown


def environment() -> Mapping[str, str]:
    """Return the environment variables of this process."""
    return os.environ


def add_to_environment(variables: Mapping[str, str]) -> None:
    """Set variables for libraries that read them from the environment only."""
    os.environ.update(variables)


def remove_from_environment(names: Iterable[str]) -> None:
    """Unset variables that a library must not use."""
    for name in names:
        os.environ.pop(name, None)


def token_folder(config: Config) -> Path:
    """Return the folder of the token cache."""
    caches = environment().get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - raises nothing without a home
    return config.training.token_cache or Path(caches) / "labelwright" / "tokens"


def load(file: Path | None, overrides: dict[str, Any], variables: Mapping[str, str] | None = None) -> Config:
    """Return the configuration of a YAML file, overridden by `variables`, then by `overrides` ("training.seed": 1).

    Variables that begin with `PREFIX` are settings: LABELWRIGHT__TRAINING__SEED=1, with the value read as YAML.
    MLFLOW_TRACKING_URI is used if `tracking.uri` is not set. Raises ConfigRejected.
    """
    settings = _read_yaml(file) if file else {}
    given = variables or {}
    keys = {name: name.removeprefix(PREFIX).lower().replace("__", ".") for name in sorted(given) if name.startswith(PREFIX)}
    for name, key in keys.items():
        _put(settings, key, _read_value(name, given[name]))
    for key, value in overrides.items():
        _put(settings, key, value)
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        by = {key.split(".", 1)[0]: name for name, key in keys.items()} | {key: name for name, key in keys.items()}
        raise ConfigRejected("; ".join(_explain(each, by) for each in error.errors())) from error
    if config.tracking.uri is None and given.get(MLFLOW):
        config = config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": given[MLFLOW]})})
    return config


def parse_override(text: str) -> tuple[str, Any]:
    """Return key and value of `key.path=value`, with the value read as YAML. Raises ConfigRejected."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigRejected(f"--set {text!r}: expected KEY=VALUE, such as training.batch_size=16")
    return key, _read_value(f"--set {key}", value)


def _read_value(where: str, text: str) -> Any:
    try:
        return yaml.safe_load(text) if text.strip() else text
    except yaml.YAMLError as error:
        raise ConfigRejected(f"{where} is {text!r}: the value is not YAML: {' '.join(str(error).split())}") from error


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigRejected(f"--config {file}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigRejected(f"--config {file}: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigRejected(f"--config {file}: expected settings by name, found {type(content).__name__}")
    empty = {name for name, value in content.items() if value is None and name in SECTIONS}  # sections with comments only
    return {name: value for name, value in content.items() if name not in empty}


def _put(settings: dict[str, Any], key: str, value: object) -> None:
    *sections, last = key.split(".")
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigRejected(f"{section} is {settings!r}, where {key} is set, too: expected a section of settings")
    settings[last] = value


def _explain(error: Any, variables: Mapping[str, str]) -> str:
    """Return the error as a sentence. variables: names of environment variables, by the setting that they set."""
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{where} is not a setting" + (f" ({variables[where]})" if where in variables else "")
    if error["type"] == "string_pattern_mismatch":
        return f"{where} is {_shown(error['input'])}: expected lower-case letters, digits, '-' and '.', 63 at most"
    return f"{where} is {_shown(error['input'])}: {as_end_of_sentence(error['msg'])}"


def _shown(value: object) -> str:
    return shown(value, MOST_CHARACTERS) if isinstance(value, str) else escaped(repr(value), MOST_CHARACTERS)
