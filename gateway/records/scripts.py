"""Lua scripts of records and corrections.

Each script is one transaction: Redis runs nothing else meanwhile, and logs its writes as one.
"""

from __future__ import annotations

from pathlib import Path

# Milliseconds since 1970, by the clock of Redis: API and workers may have wrong ones.
CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""


def source(name: str, folder: Path = Path(__file__).parent) -> str:
    """Return the script `name`, such as `claim`, which knows the time as `now`."""
    return CLOCK + (folder / f"{name}.lua").read_text()
