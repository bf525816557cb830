"""The gate on size: beyond these, a file or a function does more than one thing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("labelwright", "model", "trainer", "gateway", "k8s", "charts", "benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 60


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {
        each.name: size for each in functions if (size := (each.end_lineno or 0) - each.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert len(text.splitlines()) <= MOST_LINES_OF_A_FILE
    assert not too_long
