from __future__ import annotations

from pathlib import Path

from trainer.commands.settings import as_yaml
from trainer.config.loading import load
from trainer.config.settings import Config


def test_what_is_printed_is_a_configuration_of_all_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(as_yaml())
    assert load(file, {}) == Config()
