"""docs/security.md promises nothing that no test keeps."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def test_every_test_that_the_page_names_exists() -> None:
    missing = [f"{file}::{name}" for file, name in NAMED if name not in functions(ROOT / file)]

    assert len(NAMED) > 30
    assert missing == []


def test_every_promise_of_the_page_names_a_test() -> None:
    promises = [
        line for line in PAGE.split("## What is read")[0].splitlines() if line.startswith("| ") and "may not |" not in line
    ]

    assert len(promises) > 20
    assert [line for line in promises if not re.search(r"`tests/[\w/]+\.py::\w+`", line)] == []


def functions(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return {
        each.name for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
    }
