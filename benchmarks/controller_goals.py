"""Goals of the controller, and the measured figures, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller_process import Reading

FAST_PASS_SECONDS = 0.2  # a bucket boundary of the controller's histogram, so the share of passes within it is exact
FAST_PASS_SHARE = 0.99
IDLE_CALLS_PER_SECOND = 0.1
MAX_MEMORY_MB = 200.0


@dataclass(frozen=True)
class Figure:
    """Figure with its goal, if any: a minimum or a maximum."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it reaches its goal; True without a goal."""
        return (self.at_most is None or self.value <= self.at_most) and (self.at_least is None or self.value >= self.at_least)

    def __str__(self) -> str:
        goal = f"≤ {self.at_most:g}" if self.at_most is not None else f"≥ {self.at_least:g}" if self.at_least is not None else ""
        verdict = "" if not goal else "pass" if self.is_met else "FAIL"
        return f"{verdict:4}  {self.what:60}{self.value:12.3f}  {goal}"


def of_work(before: Reading, after: Reading, *, seconds: float, objects: int) -> Iterator[Figure]:
    """Yield the figures of a phase in which `objects` classifiers changed, and which took `seconds`."""
    yield Figure("seconds until they are ready, or all is quiet", seconds)
    for kind in after.kinds:
        yield Figure(f"passes over a {kind}, for each classifier", (after.kinds[kind] - before.kinds.get(kind, 0)) / objects)
    passes = {bound: count - before.passes.get(bound, 0) for bound, count in after.passes.items()}
    for share in (0.5, 0.9, 0.99):
        yield Figure(f"p{share * 100:g} of a pass, ms, within its bucket", quantile(passes, share) * 1000)
    yield Figure(
        f"share of passes within {FAST_PASS_SECONDS * 1000:g} ms", within(passes, FAST_PASS_SECONDS), at_least=FAST_PASS_SHARE
    )
    yield from _calls(before, after, objects)
    for reason in after.errors:
        yield Figure(f"passes that were repeated: {reason}", after.errors[reason] - before.errors.get(reason, 0))
    yield Figure("CPU ms for each classifier", (after.cpu - before.cpu) / objects * 1000)
    yield from _memory(after)


def of_idleness(before: Reading, after: Reading) -> Iterator[Figure]:
    """Yield the figures of an idle phase."""
    seconds = after.at - before.at
    calls = sum(after.calls.values()) - sum(before.calls.values())
    yield Figure("API calls a second", calls / seconds, at_most=IDLE_CALLS_PER_SECOND)
    for verb in after.calls:
        if after.calls[verb] > before.calls[verb]:
            yield Figure(f"of them {verb}", (after.calls[verb] - before.calls[verb]) / seconds)
    yield Figure("passes", sum(after.kinds.values()) - sum(before.kinds.values()))
    yield Figure("CPU ms a second", (after.cpu - before.cpu) / seconds * 1000)
    yield from _memory(after)


def quantile(passes: dict[float, float], share: float) -> float:
    """Return this quantile of the passes' seconds, linearly interpolated within the bucket, as in Prometheus."""
    rank, low, below = share * max(passes.values(), default=0), 0.0, 0.0
    for bound, count in sorted(passes.items()):
        if count >= rank:
            return low if bound == float("inf") else low + (bound - low) * (rank - below) / max(count - below, 1)
        low, below = bound, count
    return low


def within(passes: dict[float, float], seconds: float) -> float:
    """Return the share of passes that took at most `seconds`, a boundary of the histogram; 1 without passes."""
    total = max(passes.values(), default=0)
    return passes[seconds] / total if total else 1.0


def _calls(before: Reading, after: Reading, objects: int) -> Iterator[Figure]:
    yield Figure("API calls, for each classifier", (sum(after.calls.values()) - sum(before.calls.values())) / objects)
    for verb in after.calls:
        if after.calls[verb] > before.calls[verb]:
            yield Figure(f"of them {verb}", (after.calls[verb] - before.calls[verb]) / objects)


def _memory(after: Reading) -> Iterator[Figure]:
    yield Figure("resident MB at the end", after.resident)
    yield Figure("resident MB at most", after.peak, at_most=MAX_MEMORY_MB)
