"""Download datasets from Hugging Face and Kaggle with the hubs' libraries, which are optional and imported only here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import polars as pl
from polars.io.plugins import register_io_source

from model.storage import StorageUnavailable
from trainer.errors import ConfigRejected, DatasetRejected
from trainer.shown_values import escaped_names

BATCH_ROWS = 10_000


def from_kaggle(address: str) -> Path:
    """Return the folder in kagglehub's cache of the dataset `owner/name`, or of its version `owner/name/versions/N`."""
    try:
        import kagglehub
        from kagglehub.exceptions import KaggleApiHTTPError
        from requests import RequestException
    except ImportError as error:
        raise _missing("kaggle", "kagglehub") from error
    where = f"kaggle://{address}"
    try:
        return Path(kagglehub.dataset_download(address.strip("/")))
    except ValueError as error:
        raise DatasetRejected(f"dataset.uri {where!r}: {error}") from error
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403, 404):
            raise DatasetRejected(
                f"dataset.uri {where!r}: Kaggle answers {status}: no such dataset, or no permission to read it"
            ) from error
        raise StorageUnavailable(f"{where}: {error}") from error
    except (RequestException, OSError) as error:
        raise StorageUnavailable(f"{where}: {error}") from error


def from_hugging_face(address: str, *, scratch: Path) -> Path:
    """Write the rows of `owner/name[/configuration][?split=train]` to a Parquet file in `scratch`, with names for class numbers.

    If no split is given, the one named train is used, or the only one.
    """
    try:
        import datasets
    except ImportError as error:
        raise _missing("hf", "datasets") from error
    path, _, query = address.partition("?")
    owner, name, configuration = [*path.strip("/").split("/", 2), "", ""][:3]
    where = f"hf://{address}"
    folder = Path(tempfile.mkdtemp(dir=scratch, prefix="hub-"))
    try:
        loaded = datasets.load_dataset(f"{owner}/{name}", configuration or None, cache_dir=str(folder / "cache"))
    except (FileNotFoundError, ValueError) as error:  # also DatasetNotFoundError and an unknown configuration
        raise DatasetRejected(f"dataset.uri {where!r}: {_first_line(error)}") from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        why = "it is a script that creates the dataset, which is never run"
        raise DatasetRejected(f"dataset.uri {where!r}: {why}; expected files of Parquet, CSV or JSON Lines") from error
    except OSError as error:  # also every error of the connection
        raise StorageUnavailable(f"{where}: {_first_line(error)}") from error
    split = _choose_split(list(loaded), parse_qs(query).get("split", [""])[0], where)
    return _write(loaded[split], folder / "data.parquet")


def _choose_split(found: list[str], wanted: str, where: str) -> str:
    if wanted in found:
        return wanted
    if not wanted and "train" in found:
        return "train"
    if not wanted and len(found) == 1:
        return found[0]
    asked = f"no split {wanted!r}" if wanted else "no split named train"
    raise DatasetRejected(f"dataset.uri {where!r}: {asked}; found {escaped_names(found)}: add ?split=NAME")


def _write(dataset: Any, file: Path) -> Path:
    """Write the dataset's rows as Parquet, in batches. `Dataset.to_parquet` takes ten times as long."""
    names = {column: _class_names(feature) for column, feature in dataset.features.items()}
    named = [_named(column, classes, dataset.features[column]) for column, classes in names.items() if classes]

    def frames() -> Iterator[pl.DataFrame]:
        for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
            yield pl.DataFrame(pl.from_arrow(table)).with_columns(named)

    schema = next(frames(), pl.DataFrame({column: [] for column in names})).schema
    register_io_source(lambda *_: frames(), schema=schema).sink_parquet(file)
    return file


def _class_names(feature: Any) -> list[str]:
    """Return the class names of a column of class numbers, or of lists of them; empty for other columns."""
    inner = getattr(feature, "feature", feature)
    return list(getattr(inner, "names", None) or [])


def _named(column: str, classes: list[str], feature: Any) -> pl.Expr:
    def name(values: pl.Expr) -> pl.Expr:
        return values.replace_strict(dict(enumerate(classes)), default=None, return_dtype=pl.String)

    return pl.col(column).list.eval(name(pl.element())) if hasattr(feature, "feature") else name(pl.col(column))


def _missing(extra: str, library: str) -> ConfigRejected:
    return ConfigRejected(f"{extra}:// needs the library {library}: pip install 'labelwright[{extra}]'")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
