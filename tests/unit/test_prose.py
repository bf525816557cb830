"""The gate on prose: plain openings of docstrings, and no phrase that has to be read twice. The lists are in pyproject.toml."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = ("labelwright", "model", "trainer", "gateway", "k8s", "charts", "benchmarks", "tests")
TEXTS = (
    "README.md",
    "docs/*.md",
    "charts/**/*.md",
    "charts/**/*.yaml",
    "charts/**/*.txt",
    "charts/**/*.tpl",
    "trainer/**/*.jinja",
)
RULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["labelwright"]["prose"]
OPENINGS = re.compile(rf"(?:{'|'.join(RULES['openings'])})\b(?!`)")
# Words may be on two lines, and the second line a comment.
BLANK = r"[\s#]+"
PHRASES = {
    re.compile(rf"\b{phrase.replace(' ', BLANK)}\b", re.IGNORECASE): instead for phrase, instead in RULES["phrases"].items()
}


def test_docstrings_open_plainly_and_no_text_has_a_refused_phrase() -> None:
    sources = [path for folder in PYTHON for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = [path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))]
    faults = [
        f"{name}:{fault}"
        for path in (*sources, *texts)
        if not (name := str(path.relative_to(ROOT))).startswith(tuple(RULES["unread"]))
        for fault in (faults_of_source(path.read_text()) if path.suffix == ".py" else faults_of_text(path.read_text()))
    ]
    assert not faults, "\n".join(["", *faults])


def test_a_wrong_opening_and_refused_phrases_are_found_with_their_lines() -> None:
    source = (
        '"""Good."""\nclass A:\n    """Of a classifier.\n\n    Made\n    anew.\n    """\n# so\n# many\nprint(f"{A} is told")\n'
    )
    assert sorted(faults_of_source(source)) == [
        '10: "is told": name what it gets, and from where',
        '3: a docstring opens with "Of": open with a verb or the head noun ("Return …", "Seconds until …")',
        '6: "anew": again, from the start, or the verb alone',
        '8: "so many": name the number',
    ]


def faults_of_source(source: str) -> Iterator[str]:
    """Faults of docstrings, comments and string literals, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            if opening := OPENINGS.match(node.value.value.lstrip()):
                advice = 'open with a verb or the head noun ("Return …", "Seconds until …")'
                yield f'{node.lineno}: a docstring opens with "{opening[0]}": {advice}'
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from faults_of_text(node.value, node.lineno)
    for line, comment in _comments(source):
        yield from faults_of_text(comment, line)


def faults_of_text(text: str, line: int = 1) -> Iterator[str]:
    """Faults of a text whose first line is `line`: phrases that are refused everywhere."""
    for phrase, instead in PHRASES.items():
        for match in phrase.finditer(text):
            words = " ".join(match[0].replace("#", " ").split())
            yield f'{line + text.count(chr(10), 0, match.start())}: "{words}": {instead}'


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Blocks of comments on consecutive lines, each with the number of its first line."""
    first, block = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if block and token.start[0] != first + len(block):
            yield first, "\n".join(block)
            block = []
        if not block:
            first = token.start[0]
        block.append(token.string)
    if block:
        yield first, "\n".join(block)
