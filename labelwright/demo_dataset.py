"""Real labelled dataset that needs no download: the docstrings of installed libraries.

Sources are parsed, never imported. A text's labels are its library and its area of the library (`pandas`, `pandas.io`); neither
name occurs in the text.
"""

from __future__ import annotations

import ast
import gc
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

import click
import polars as pl

from model.cores import usable_cores
from model.escaping import PrintableErrors
from model.provisioning import repeat
from model.storage import StorageError, open_store

LIBRARIES = (
    "datasets", "matplotlib", "networkx", "numba", "numpy", "pandas", "polars",
    "pydantic", "scipy", "sklearn", "torch", "transformers",
)  # fmt: skip
# Other names of the libraries, in code and prose.
ALIASES = ("mpl", "np", "nx", "pd", "pl", "plt", "pyplot", "scikit-learn", "sp", "pytorch", "ndarray")
# Areas to read of libraries that are mostly generated, vendored or repetitive code.
AREAS = {
    "torch": ("autograd", "distributions", "jit", "linalg", "nn", "optim", "sparse", "utils"),
    "transformers": ("generation", "pipelines", "trainer_callback.py", "trainer_utils.py", "training_args.py", "utils"),
}
MIN_WORDS = 8
MAX_CHARACTERS = 2000
MIN_AREA_TEXTS = 60  # an area with fewer texts is no label

_NAME = re.compile("|".join(LIBRARIES), re.IGNORECASE)
_WORD = re.compile(r"\S+")
_ALIAS = re.compile(r"(?<!\w)(?:" + "|".join(ALIASES) + r")(?!\w)", re.IGNORECASE)
_EXAMPLE_LINE = re.compile(r"^\s*(?:>>>|\.\.\.).*$", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """Docstring, with its library and the dotted name of its area."""

    text: str
    library: str
    area: str


@click.command(cls=PrintableErrors)
@click.argument("uri")
@click.option("--seconds", default=0.0, show_default=True, help="Time to wait for a storage that does not answer yet.")
def demo_dataset(uri: str, seconds: float) -> None:
    """Write docstrings of installed libraries, each with its labels, to the Parquet file URI (s3:// or file://).

    The columns are `text` and `labels`. A file that exists there is kept.
    """
    try:
        repeat(lambda: click.echo(f"{uri}: {_write_if_absent(uri)}"), seconds=seconds, say=click.echo)
    except StorageError as error:
        raise click.ClickException(str(error)) from error


def _write_if_absent(uri: str) -> str:
    """Write the dataset unless there is one. Return what there is now."""
    folder, _, name = uri.rpartition("/")
    store = open_store(folder)
    if name in {each.key for each in store.list()}:
        return "exists"
    with tempfile.TemporaryDirectory(prefix="labelwright-") as scratch:
        file = Path(scratch) / name
        rows = write_dataset(file)
        store.upload(file, name)
    return f"{rows:,} texts"


def write_dataset(to: Path) -> int:
    """Write a Parquet file with the columns `text` and `labels` (a list), and return its number of rows."""
    docstrings = list(_read_all())
    areas = Counter(each.area for each in docstrings)
    rows = {
        "text": [each.text for each in docstrings],
        "labels": [
            [each.library, each.area] if areas[each.area] >= MIN_AREA_TEXTS and each.area != each.library else [each.library]
            for each in docstrings
        ],
    }
    to.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_parquet(to)
    return len(docstrings)


def _read_all() -> Iterator[Docstring]:
    folders = [folder for each in LIBRARIES if (folder := _folder(each))]
    files = [(folder.parent, file) for folder in folders for file in sorted(folder.rglob("*.py")) if _is_wanted(folder, file)]
    # Not forked: children would inherit the threads of loaded libraries.
    with ProcessPoolExecutor(max_workers=usable_cores(), mp_context=get_context("spawn")) as pool:
        seen: set[str] = set()
        for docstrings in pool.map(_read_file, files, chunksize=32):
            for each in docstrings:
                if each.text not in seen:
                    seen.add(each.text)
                    yield each


def _folder(library: str) -> Path | None:
    spec = find_spec(library)
    return Path(spec.origin).parent if spec and spec.origin else None


def _is_wanted(folder: Path, file: Path) -> bool:
    parts = file.relative_to(folder).parts
    if parts[0] not in AREAS.get(folder.name, parts):
        return False
    return not any(each in ("tests", "testing", "_testing") or each.startswith("test_") for each in parts)


def _read_file(place: tuple[Path, Path]) -> list[Docstring]:
    root, file = place
    parts = file.relative_to(root).with_suffix("").parts
    library, area = parts[0], ".".join(parts[:2]).removesuffix(".__init__")
    gc.disable()  # a tree has a hundred thousand objects and no cycle; the search for cycles doubles the time
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the libraries' strings
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return []
    texts = (_without_names(each) for each in _docstrings(tree.body))
    return [Docstring(text, library, area) for text in texts if len(text.split()) >= MIN_WORDS]


def _docstrings(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the docstrings of all classes and functions in these statements. Expressions are skipped, to save time."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (docstring := ast.get_docstring(node)):
            yield docstring
        for block in ("body", "orelse", "finalbody"):
            yield from _docstrings(getattr(node, block, []))


def _without_names(text: str) -> str:
    """Return the text without anything that reveals its label: names of libraries, dotted names, lines of code."""
    text = _EXAMPLE_LINE.sub("", text)
    if _NAME.search(text):
        text = _WORD.sub(lambda word: "" if _NAME.search(word[0]) else word[0], text)
    text = _ALIAS.sub("", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()[:MAX_CHARACTERS]
