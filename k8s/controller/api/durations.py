"""Durations as users write them: 90s, 15m, 1h30m."""

from __future__ import annotations

import re

# Six digits a part and two parts, so no sum exceeds the longest duration of Kubernetes.
PATTERN = r"^([0-9]{1,6}[smh])+$"
MAX_CHARACTERS = 14
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 1h30m. Raises ValueError."""
    if len(text) > MAX_CHARACTERS or not re.fullmatch(PATTERN, text):
        raise ValueError("expected a duration such as 90s, 15m or 1h30m")
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)([smh])", text))
