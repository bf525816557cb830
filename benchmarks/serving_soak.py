"""Soak test: a server under constant load for a long time. Errors, latency and growth of memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOP_SECONDS = 10.0  # in which the top rate is measured
LOAD_SHARE = 0.8
LINE_SECONDS = 10.0
SETTLED_SHARE = 0.25  # of the time, after which growth of memory counts

Result = dict[str, Any]


def soak(load: Callable[..., Result], seconds: float, out: Path) -> None:
    """Send constant load with `load`. Print a line for each ten seconds, then errors, p99 and the growth of memory."""
    top = load(seconds=TOP_SECONDS)["requests"]
    rate = LOAD_SHARE * top
    print(f"top rate {top:.1f} requests/s; {rate:.1f} a second for {seconds:.0f} s, whether answered or not", flush=True)
    result = load(seconds=seconds, rate=rate, every=LINE_SECONDS)
    print(f"{'after, s':>10}{'requests/s':>12}{'p99, ms':>10}{'errors':>8}{'MB':>10}")
    history, before = result["history"], 0.0
    for line in history[1:]:
        sent = line["requests"] / (line["at"] - before)
        print(f"{line['at']:10.0f}{sent:12.1f}{line['p99']:10.1f}{line['errors']:8.0f}{line['resident']:10.1f}")
        before = line["at"]
    print(f"\nerrors {result['errors']} {result['first_error']}; p50 {result['p50']:.1f} ms, p99 {result['p99']:.1f} ms")
    print(f"{result['requests']:.1f} of {rate:.1f} requests/s answered; {result['server_cpu']:.2f} CPUs")
    print(f"resident {history[0]['resident']:.1f} MB at the start, {history[-1]['resident']:.1f} MB at the end")
    print(f"growth over the last three quarters: {_megabytes_an_hour(history, seconds):+.1f} MB an hour")
    (out / "soak.json").write_text(json.dumps({"top": top, "rate": rate, **result}, indent=1) + "\n")


def _megabytes_an_hour(history: list[dict[str, float]], seconds: float) -> float:
    """Return the slope of memory over time after it has settled; 0 for fewer than three lines."""
    settled = [each for each in history if each["at"] >= SETTLED_SHARE * seconds]
    if len(settled) < 3:
        return 0.0
    return float(np.polyfit([each["at"] for each in settled], [each["resident"] for each in settled], 1)[0]) * 3600
