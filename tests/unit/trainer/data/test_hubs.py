"""Hubs, through their own libraries, on files laid out as the hubs' caches have them: nothing leaves this machine."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest

from model.storage import StorageUnavailable
from tests.support.reading import labels_of, read
from trainer.data.reading import DatasetRejected
from trainer.errors import ConfigRejected

ROWS = [{"title": f"t{n}", "abstract": f"a{n}", "categories": label} for n in range(3) for label in ("x", "y")]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SNAPSHOT = "".join(json.dumps(row | {"categories": "cmp-lg math.MP"}) + "\n" for row in ROWS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`owner/name` as a folder beside which the library looks before it asks the hub."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "owner/name"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("address", ["hf://owner/name", "hf://owner/name?split=train"])
def test_a_dataset_of_hugging_face_is_read(hub: Path, address: str) -> None:
    (hub / "train.jsonl").write_text(LINES)

    loaded = read(hub, uri=address)

    assert loaded.examples.texts() == [f"{row['title']}\n{row['abstract']}" for row in ROWS]
    assert loaded.facts.uri == address
    assert loaded.facts.columns == ("title", "abstract", "categories")


def test_class_numbers_become_class_names(hub: Path) -> None:
    import datasets

    names = datasets.ClassLabel(names=["pets", "farm"])
    features = datasets.Features(
        {"title": datasets.Value("string"), "kind": names, "kinds": datasets.List(names), "abstract": datasets.Value("string")}
    )
    rows = [{"title": f"t{n}", "kind": n % 2, "kinds": [0, n % 2], "abstract": ""} for n in range(6)]
    made = datasets.Dataset.from_list(rows, features=features)
    made.to_parquet(str(hub / "train.parquet"))

    assert labels_of(read(hub, uri="hf://owner/name", label_columns=("kind",))) == [{"pets"}, {"farm"}] * 3
    assert labels_of(read(hub, uri="hf://owner/name", label_columns=("kinds",))) == [{"pets"}, {"farm", "pets"}] * 3


def test_a_split_that_is_not_there_is_refused_with_those_that_are(hub: Path) -> None:
    (hub / "train.jsonl").write_text(LINES)
    (hub / "test.jsonl").write_text(LINES)

    with pytest.raises(DatasetRejected, match=r"no split 'dev'; found train, test"):
        read(hub, uri="hf://owner/name?split=dev")


def test_a_dataset_that_is_a_program_is_refused_and_not_run(hub: Path) -> None:
    (hub / "name.py").write_text(f"open({str(hub / 'executed')!r}, 'w')")

    with pytest.raises(DatasetRejected, match="it is a script that creates the dataset, which is never run"):
        read(hub, uri="hf://owner/name")

    assert not (hub / "executed").exists()


def test_a_hub_that_does_not_answer_may_be_asked_again(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)

    with pytest.raises(StorageUnavailable, match="hf://nobody/nothing"):
        read(hub, uri="hf://nobody/nothing")


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of kagglehub with version 7 of arXiv's snapshot in it."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    monkeypatch.setenv("DISABLE_KAGGLE_CACHE", "true")
    folder = tmp_path / "datasets/Cornell-University/arxiv"
    (folder / "versions/7").mkdir(parents=True)
    (folder / "versions/7/arxiv-metadata-oai-snapshot.json").write_text(SNAPSHOT)
    (folder / "7.complete").touch()
    return tmp_path


def test_arxivs_snapshot_is_read_from_kaggle(kaggle: Path) -> None:
    loaded = read(kaggle, uri="kaggle://Cornell-University/arxiv/versions/7", label_separator="auto")

    assert loaded.examples.labels == ("cs.CL", "math-ph")
    assert loaded.facts.rows == len(ROWS)


def test_an_address_that_is_no_dataset_is_refused(kaggle: Path) -> None:
    with pytest.raises(DatasetRejected, match="kaggle://nothing"):
        read(kaggle, uri="kaggle://nothing")


@pytest.mark.parametrize(("scheme", "library"), [("hf", "datasets"), ("kaggle", "kagglehub")])
def test_a_missing_library_is_named_with_its_installation(
    scheme: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **more: object) -> object:
        if name.split(".", maxsplit=1)[0] == library:
            raise ImportError(name)
        return real(name, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(ConfigRejected, match=rf"pip install 'labelwright\[{scheme}\]'"):
        read(tmp_path / "x", uri=f"{scheme}://owner/name")
