"""Ids of predictions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.records.ids import ID_PATTERN, new_id, was_given

SECRET = b"a secret of the gateway"


def test_an_id_proves_that_it_was_given() -> None:
    task_id = new_id(SECRET, milliseconds=1_796_055_055_182)

    assert re.fullmatch(ID_PATTERN, task_id)
    assert was_given(SECRET, task_id)
    assert not was_given(b"another secret of it", task_id)


@pytest.mark.parametrize("task_id", ["", "-", "x", "é" * 53, "0" * 53, "01a22d39-3b3e-7a7b-a617-45b518faca68"])
def test_other_strings_are_no_ids(task_id: str) -> None:
    assert not was_given(SECRET, task_id)


@given(at=st.integers(0, 52), character=st.sampled_from("0123456789abcdef-"))
def test_an_id_with_a_changed_character_was_not_given(at: int, character: str) -> None:
    task_id = new_id(SECRET, milliseconds=1_796_055_055_182)
    changed = task_id[:at] + character + task_id[at + 1 :]

    assert was_given(SECRET, changed) == (changed == task_id)


def test_ids_sort_by_time_and_differ() -> None:
    times = [1, 2, 1_000, 1_796_055_055_182, 1_796_055_055_183]
    ids = [new_id(SECRET, milliseconds=time) for time in times]

    assert ids == sorted(ids)
    assert len({new_id(SECRET, milliseconds=1) for _ in range(1000)}) == 1000
