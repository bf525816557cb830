"""Command `labelwright`, as a user types it."""

from __future__ import annotations

import subprocess
import sys


def labelwright(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command, and check its exit code."""
    command = [sys.executable, "-m", "labelwright", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == expect, done.stderr
    return done
