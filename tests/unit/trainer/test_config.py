from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config.loading import load, parse_override
from trainer.config.settings import ARXIV
from trainer.errors import ConfigRejected


def test_the_default_dataset_is_the_arxiv_snapshot() -> None:
    dataset = load(None, {}).dataset
    assert dataset.uri == ARXIV
    assert dataset.text_columns == ("title", "abstract")
    assert dataset.label_columns == ("categories",)


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("name: products\ntraining: {seed: 1, batch_size: 8}\n")
    config = load(file, {"training.seed": 2})
    assert (config.name, config.training.seed, config.training.batch_size) == ("products", 2, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("training.batch_size=16", ("training.batch_size", 16), id="number"),
        pytest.param("dataset.label_separator= ", ("dataset.label_separator", " "), id="blank"),
        pytest.param("dataset.label_separator=", ("dataset.label_separator", ""), id="empty"),
        pytest.param("dataset.aliases={old: new}", ("dataset.aliases", {"old": "new"}), id="map"),
        pytest.param("name=a=b", ("name", "a=b"), id="equals-sign-in-the-value"),
    ],
)
def test_an_override_is_read_as_yaml(text: str, expected: tuple[str, object]) -> None:
    assert parse_override(text) == expected


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        pytest.param({"training.seed": -1}, ["training.seed", "-1", "greater than or equal to 0"], id="below-its-range"),
        pytest.param({"training.batch_sise": 1}, ["training.batch_sise", "not a setting"], id="unknown"),
        pytest.param({"training.architecture": "forest"}, ["training.architecture", "forest", "linear"], id="not-one-of"),
        pytest.param({"name": "Big Name"}, ["name", "Big Name"], id="no-resource-could-have-it"),
        pytest.param({"name.first": "x"}, ["name"], id="section-of-a-value"),
        pytest.param({"split.test_share": 0.9}, ["split.test_share", "0.9"], id="too-large-a-share"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(overrides: dict[str, object], words: list[str]) -> None:
    with pytest.raises(ConfigRejected) as caught:
        load(None, overrides)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [pytest.param("- 1\n", id="a-list"), pytest.param("a: [", id="not-yaml"), pytest.param("\udcff", id="not-text")],
)
def test_a_file_that_holds_no_settings_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigRejected, match=r"config\.yaml"):
        load(file, {})


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigRejected, match="KEY=VALUE"):
        parse_override("training.seed")
