"""A real labelled dataset that is on every machine: the docstrings of installed libraries.

Sources are parsed, never imported. A text is labelled with its library and the area of the library that it comes
from (`pandas`, `pandas.io`), and does not contain either name.
"""

from __future__ import annotations

import ast
import gc
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import polars as pl

from model.cores import usable_cores

LIBRARIES = (
    "datasets", "matplotlib", "networkx", "numba", "numpy", "pandas", "polars",
    "pydantic", "scipy", "sklearn", "torch", "transformers",
)  # fmt: skip
# How code and prose call the libraries besides by name.
ALIASES = ("mpl", "np", "nx", "pd", "pl", "plt", "pyplot", "scikit-learn", "sp", "pytorch", "ndarray")
# Some libraries are mostly generated, vendored or repetitive code: the areas that are worth reading.
AREAS = {
    "torch": ("autograd", "distributions", "jit", "linalg", "nn", "optim", "sparse", "utils"),
    "transformers": ("generation", "pipelines", "trainer_callback.py", "trainer_utils.py", "training_args.py", "utils"),
}
MINIMUM_WORDS = 8
MAXIMUM_CHARACTERS = 2000
MINIMUM_AREA = 60  # texts of an area below which it is no label of its own

_NAME = re.compile("|".join(LIBRARIES), re.IGNORECASE)
_WORD = re.compile(r"\S+")
_ALIAS = re.compile(r"(?<!\w)(?:" + "|".join(ALIASES) + r")(?!\w)", re.IGNORECASE)
_EXAMPLE_LINE = re.compile(r"^\s*(?:>>>|\.\.\.).*$", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """A docstring and the dotted name of the library's area that it comes from."""

    text: str
    library: str
    area: str


def write_dataset(to: Path) -> int:
    """Write a Parquet file of the columns `text` and `labels` (a list), and return how many rows it has."""
    found = list(_read_all())
    areas = Counter(each.area for each in found)
    rows = {
        "text": [each.text for each in found],
        "labels": [
            [each.library, each.area] if areas[each.area] >= MINIMUM_AREA and each.area != each.library else [each.library]
            for each in found
        ],
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(to)
    return len(found)


def _read_all() -> Iterator[Docstring]:
    folders = [folder for each in LIBRARIES if (folder := _folder(each))]
    files = [(folder.parent, file) for folder in folders for file in sorted(folder.rglob("*.py")) if _is_wanted(folder, file)]
    # Forked children would inherit the threads of the libraries loaded here.
    with ProcessPoolExecutor(max_workers=usable_cores(), mp_context=get_context("spawn")) as pool:
        seen: set[str] = set()
        for docstrings in pool.map(_read_file, files, chunksize=32):
            for each in docstrings:
                if each.text not in seen:
                    seen.add(each.text)
                    yield each


def _folder(library: str) -> Path | None:
    found = find_spec(library)
    return Path(found.origin).parent if found and found.origin else None


def _is_wanted(folder: Path, file: Path) -> bool:
    parts = file.relative_to(folder).parts
    if parts[0] not in AREAS.get(folder.name, parts):
        return False
    return not any(each in ("tests", "testing", "_testing") or each.startswith("test_") for each in parts)


def _read_file(place: tuple[Path, Path]) -> list[Docstring]:
    root, file = place
    parts = file.relative_to(root).with_suffix("").parts
    library, area = parts[0], ".".join(parts[:2]).removesuffix(".__init__")
    gc.disable()  # a tree is a hundred thousand objects without a cycle; looking for one doubles the time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return []
    texts = (_without_names(each) for each in _docstrings(tree.body))
    return [Docstring(text, library, area) for text in texts if len(text.split()) >= MINIMUM_WORDS]


def _docstrings(body: list[ast.stmt]) -> Iterator[str]:
    """Those of all classes and functions in these statements; expressions, most of a tree, are not looked at."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (found := ast.get_docstring(node)):
            yield found
        for block in ("body", "orelse", "finalbody"):
            yield from _docstrings(getattr(node, block, []))


def _without_names(text: str) -> str:
    """The text without what would give the label away: names of libraries, dotted names, lines of code."""
    text = _EXAMPLE_LINE.sub("", text)
    if _NAME.search(text):
        text = _WORD.sub(lambda word: "" if _NAME.search(word[0]) else word[0], text)
    text = _ALIAS.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()[:MAXIMUM_CHARACTERS]
