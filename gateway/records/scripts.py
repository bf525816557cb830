"""Lua scripts of records and corrections.

Each script is one transaction: Redis runs nothing else meanwhile, and logs its writes as one entry.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
PRELUDE = (FOLDER / "prelude.lua").read_text()


def source(name: str, folder: Path = FOLDER) -> str:
    """Return the script `name`, such as `claim`, with the prelude before it."""
    return PRELUDE + (folder / f"{name}.lua").read_text()
