"""Time that a client asks to wait: `Prefer: wait=5` (RFC 7240) or `?wait=5`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WAIT = re.compile(r"wait\s*=\s*\"?([0-9]{1,9})\"?")


@dataclass(frozen=True)
class Wait:
    """Wish to wait. preferred: it came as the header Prefer, so the response says that it was applied."""

    seconds: float
    preferred: bool

    def headers(self) -> dict[str, str]:
        """Return the headers of a response to a request that waited."""
        return {"Preference-Applied": f"wait={self.seconds:g}"} if self.preferred else {}


def wish(prefer: Sequence[str], query: float | None, *, longest: float) -> Wait | None:
    """Return how long to wait; None without a wish. prefer: values of the header; other preferences are ignored."""
    if query is not None:
        return Wait(min(query, longest), preferred=False)
    for preference in ",".join(prefer).split(","):
        if found := WAIT.fullmatch(preference.split(";")[0].strip()):
            return Wait(min(float(found[1]), longest), preferred=True)
    return None
