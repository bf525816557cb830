"""Lua scripts of records and corrections.

Each script is one transaction: Redis runs nothing else meanwhile, and logs its writes as one entry.
"""

from __future__ import annotations

from pathlib import Path

# Milliseconds since 1970, by the clock of Redis, because the clocks of API and workers may be wrong.
CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""


def source(name: str, folder: Path = Path(__file__).parent) -> str:
    """Return the script `name`, such as `claim`. Its variable `now` has the time."""
    return CLOCK + (folder / f"{name}.lua").read_text()
