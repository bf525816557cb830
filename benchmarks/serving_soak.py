"""A server at a steady load for a long time: does it answer all of it, as fast as at the start, in the same memory?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOP_SECONDS = 10.0  # in which the top rate is measured
SHARE = 0.8
EVERY = 10.0  # seconds of a line
SETTLED = 0.25  # of the time, after which growth of memory counts

Result = dict[str, Any]


def soak(load: Callable[..., Result], seconds: float, out: Path) -> None:
    """`load` sends requests as it is told. Print a line for each ten seconds, then errors, p99, and how memory went."""
    top = load(seconds=TOP_SECONDS)["requests"]
    rate = SHARE * top
    print(f"top rate {top:.1f} requests/s; {rate:.1f} a second for {seconds:.0f} s, whether answered or not", flush=True)
    found = load(seconds=seconds, rate=rate, every=EVERY)
    print(f"{'after, s':>10}{'requests/s':>12}{'p99, ms':>10}{'errors':>8}{'MB':>10}")
    history, before = found["history"], 0.0
    for line in history[1:]:
        sent = line["requests"] / (line["at"] - before)
        print(f"{line['at']:10.0f}{sent:12.1f}{line['p99']:10.1f}{line['errors']:8.0f}{line['resident']:10.1f}")
        before = line["at"]
    print(f"\nerrors {found['errors']} {found['first_error']}; p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms")
    print(f"{found['requests']:.1f} of {rate:.1f} requests/s answered; {found['server_cpu']:.2f} CPUs")
    print(f"resident {history[0]['resident']:.1f} MB at the start, {history[-1]['resident']:.1f} MB at the end")
    print(f"growth over the last three quarters: {_megabytes_an_hour(history, seconds):+.1f} MB an hour")
    (out / "soak.json").write_text(json.dumps({"top": top, "rate": rate, **found}, indent=1) + "\n")


def _megabytes_an_hour(history: list[dict[str, float]], seconds: float) -> float:
    """The slope of memory over time, once it has settled; 0 of fewer than three lines."""
    settled = [each for each in history if each["at"] >= SETTLED * seconds]
    if len(settled) < 3:
        return 0.0
    return float(np.polyfit([each["at"] for each in settled], [each["resident"] for each in settled], 1)[0]) * 3600
