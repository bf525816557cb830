"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.classifiers.known import Classifiers
from gateway.config import SettingRejected, read

GIVEN = {"redis": "redis://127.0.0.1:6379/0", "predictors": "papers=http://papers-predictor"}


def test_options_override_variables() -> None:
    environment = {"LABELWRIGHT_GATEWAY__PORT": "8001", "LABELWRIGHT_GATEWAY__HOST": "::", "OTHER": "x"}

    config = read({**GIVEN, "port": "8002", "host": None}, environment)

    assert (config.port, config.host) == (8002, "::")


def test_the_first_predictor_is_the_default_one() -> None:
    config = read({**GIVEN, "predictors": "papers=http://papers-predictor/ products=https://products:8080"}, {})

    assert config.predictors == {"papers": "http://papers-predictor", "products": "https://products:8080"}
    assert Classifiers(config).default == "papers"
    assert Classifiers(read({**GIVEN, "default_classifier": "products"}, {})).default == "products"


def test_a_gateway_without_any_classifier_is_refused() -> None:
    with pytest.raises(SettingRejected, match="expected a namespace, or --predictor NAME=ADDRESS"):
        read({"redis": GIVEN["redis"]}, {})

    assert read({"redis": GIVEN["redis"], "discover_namespace": "papers"}, {}).predictors == {}


def test_another_process_reads_the_same_settings_from_the_environment(tmp_path: Path) -> None:
    config = read({**GIVEN, "port": 0, "anonymous": True, "tokens_file": tmp_path / "tokens", "retention_seconds": 60}, {})

    assert read({}, config.environment()) == config


def test_variables_of_kubernetes_are_not_settings() -> None:
    service = {"LABELWRIGHT_GATEWAY_PORT": "tcp://10.0.0.1:80", "LABELWRIGHT_GATEWAY_SERVICE_HOST": "10.0.0.1"}

    assert read(GIVEN, service).port == 8000


@pytest.mark.parametrize(
    ("changed", "environment", "message"),
    [
        pytest.param({"port": "x"}, {}, "--port is 'x': input should be a valid integer", id="option"),
        pytest.param({}, {"PORT": "70000"}, "LABELWRIGHT_GATEWAY__PORT is '70000': ", id="variable"),
        pytest.param({}, {"PROT": "1"}, "LABELWRIGHT_GATEWAY__PROT is '1': extra inputs", id="misspelt"),
        pytest.param({"redis": None}, {}, "--redis is missing, and so is the variable LABELWRIGHT_GATEWAY__REDIS", id="missing"),
        pytest.param({"redis": "valkey://:secret@x"}, {}, "--redis is set: string should match", id="password-not-shown"),
        pytest.param({"discover_namespace": "A b"}, {}, "--discover-namespace is 'A b': string should match", id="no-namespace"),
        pytest.param({"predictors": "papers"}, {}, "papers has '': expected an address", id="no-address"),
        pytest.param({"request_seconds": 60}, {}, "expected less than lease_seconds, 60", id="longer-than-its-lease"),
    ],
)
def test_an_error_names_setting_and_value(changed: dict[str, Any], environment: dict[str, str], message: str) -> None:
    variables = {f"LABELWRIGHT_GATEWAY__{name}": value for name, value in environment.items()}

    with pytest.raises(SettingRejected) as raised:
        read({**GIVEN, **changed}, variables)

    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [pytest.param(None, "No such file", id="absent"), pytest.param(b"short\n", "has 5 bytes: expected at least 16", id="short")],
)
def test_a_secret_is_a_file_of_some_length(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    config = read({**GIVEN, "id_secret_file": path}, {})

    with pytest.raises(SettingRejected, match=message):
        config.id_secret()
