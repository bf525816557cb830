"""Turns of large requests."""

from __future__ import annotations

import asyncio

import pytest

from model.serving import parsing_turns
from model.serving.parsing_turns import MIN_BYTES, ParsingTurns


def test_between_two_large_requests_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing_turns, "GAP_SECONDS", 0.2)

    async def test() -> list[str]:
        turns, order = ParsingTurns(), list[str]()

        async def parse(name: str, size: int) -> None:
            await turns.wait(size)
            order.append(name)

        large = [asyncio.create_task(parse(f"large {at}", MIN_BYTES)) for at in range(2)]
        await large[0]
        for at in range(3):  # one after the other, each in turns of the event loop of its own
            await asyncio.create_task(parse(f"small {at}", MIN_BYTES - 1))
        await large[1]
        return order

    assert asyncio.run(test()) == ["large 0", "small 0", "small 1", "small 2", "large 1"]
