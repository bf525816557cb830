from __future__ import annotations

import logging

import pytest

from trainer.run import progress


def test_progress_of_long_work_is_logged_in_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, logger="trainer"):
        assert list(progress.track("abc", total=3, what="reading letters")) == ["a", "b", "c"]
    assert [each.getMessage().split(",")[0] for each in caplog.records] == ["reading letters: 1 of 3", "reading letters: 2 of 3"]


def test_short_work_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="trainer"):
        list(progress.track(range(100), total=100, what="counting"))
    assert not caplog.records
