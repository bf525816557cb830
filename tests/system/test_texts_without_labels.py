"""Texts that carry no label, from the file to the answers: the commands as a user types them, and a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest

from tests.support.commands import labelwright
from tests.support.servers import RunningServer, serving

TOPICS = {
    "battery": "it died while charging slowly",
    "screens": "scratched glass with dead pixels",
    "sound": "crackles then hums",
}
CLEAN = "we liked the colour and the friendly people of the shop"
COLUMNS = ("--text-columns", "comment", "--label-column", ",".join(TOPICS))
ASKED = [f"{CLEAN} again", TOPICS["battery"], f"{TOPICS['screens']}, {TOPICS['sound']}"]
EXPECTED = [[], ["battery"], ["screens", "sound"]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 240 rows, 120 without a label and 6 with one missing."""
    random = np.random.default_rng(0)
    rows = []
    for at in range(240):
        topics = [] if at % 2 else list(random.choice(list(TOPICS), size=1 + at % 4 // 2, replace=False))
        words = " ".join([*random.permutation(" ".join([CLEAN, *map(TOPICS.__getitem__, topics)]).split()), f"number{at}"])
        marks = {topic: None if at < 12 and at % 2 else int(topic in topics) for topic in TOPICS}
        rows.append({"comment": words, **marks})
    file = tmp_path_factory.mktemp("dataset") / "comments.csv"
    pl.DataFrame(rows).write_csv(file)
    return file


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The version's folder, and what the training said."""
    output = tmp_path_factory.mktemp("models")
    done = labelwright("train", "--dataset", str(dataset), *COLUMNS, "--output-dir", str(output))
    return Path(done.stdout.strip().removeprefix("file://")), done.stderr


@pytest.fixture(scope="module")
def server(trained: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with serving(trained[0], tmp_path_factory.mktemp("server") / "log") as running:
        yield running


def test_rows_without_a_label_are_examples_and_the_version_says_so(trained: tuple[Path, str]) -> None:
    folder, said = trained
    manifest = json.loads((folder / "manifest.json").read_text())

    assert "114 rows of 240 carry no label: a text may have none" in said
    assert "6 rows without label were set aside" in said
    assert (manifest["schema_version"], manifest["label_required"]) == (2, False)
    assert sum(manifest["training"]["examples"].values()) == 234
    test = manifest["scores"]["test"]
    assert 0.4 < test["without_label"] < 0.6
    assert abs(test["predicted_without_label"] - test["without_label"]) < 0.1
    assert abs(manifest["reference"]["without_label"] - test["predicted_without_label"]) < 1e-9
    assert test["subset_accuracy"] > 0.9
    report = (folder / "report.html").read_text()
    assert f"{100 * test['without_label']:.1f} % of them have no label" in report
    assert f"on {test['texts']} texts; 95 % interval of micro_f1:" in said


def test_every_way_of_asking_gives_a_clean_text_no_label(trained: tuple[Path, str], server: RunningServer) -> None:
    lines = labelwright("predict", str(trained[0]), "--", *ASKED).stdout.splitlines()
    v1 = httpx.post(f"{server.rest}/v1/models/classifier:predict", json={"instances": ASKED}).json()["predictions"]

    assert [sorted(json.loads(line)["labels"]) for line in lines] == EXPECTED
    assert [sorted(each["labels"]) for each in v1] == EXPECTED
    assert v1[0] == {"labels": [], "scores": []}
    for answer in (ask_v2(server, ASKED), asyncio.run(ask_grpc(server, ASKED))):
        labels, scores = answer["labels"], answer["scores"]
        assert labels["shape"] == scores["shape"] == [3, 2]
        assert labels["data"][:4] == ["", "", "battery", ""]
        assert sorted(labels["data"][4:]) == ["screens", "sound"]
        assert [score > 0 for score in scores["data"]] == [False, False, True, False, True, True]


def test_a_clean_text_alone_has_an_empty_row(server: RunningServer) -> None:
    for answer in (ask_v2(server, ASKED[:1]), asyncio.run(ask_grpc(server, ASKED[:1]))):
        assert (answer["labels"]["shape"], answer["labels"]["data"]) == ([1, 0], [])


def test_parameters_choose_among_all_labels_whether_one_is_required_or_not(server: RunningServer) -> None:
    assert ask_v2(server, ASKED, top_k=2)["labels"]["shape"] == [3, 2]
    assert "" not in ask_v2(server, ASKED, top_k=2)["labels"]["data"]
    assert ask_v2(server, ASKED, threshold=0)["labels"]["shape"] == [3, 3]


def test_the_metadata_says_that_a_text_may_have_no_label(server: RunningServer) -> None:
    found = httpx.get(f"{server.rest}/v2/models/classifier").json()

    assert found["parameters"]["label_required"] is False


def test_evaluating_scores_rows_without_a_label(trained: tuple[Path, str], dataset: Path, tmp_path: Path) -> None:
    done = labelwright(
        "evaluate", "--model-path", str(trained[0]), "--dataset", str(dataset), *COLUMNS, "--output-dir", str(tmp_path)
    )
    test = json.loads((tmp_path / "scores.json").read_text())["scores"]["test"]

    assert test["texts"] == 234
    assert test["without_label"] == pytest.approx(114 / 234)
    assert "carry no label" in done.stderr


def ask_v2(server: RunningServer, texts: list[str], **parameters: float) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    asked = {"inputs": [tensor], "parameters": parameters}
    answer = httpx.post(f"{server.rest}/v2/models/classifier/infer", json=asked).json()
    return {each["name"]: each for each in answer["outputs"]}


async def ask_grpc(server: RunningServer, texts: list[str]) -> dict[str, Any]:
    client = InferenceGRPCClient(server.grpc)
    tensor = InferInput("text", [len(texts)], "BYTES", data=[text.encode() for text in texts])
    answer = await client.infer(InferRequest("classifier", [tensor]))
    await client.close()
    found = {}
    for each in answer.outputs:
        data = [value.decode() if isinstance(value, bytes) else value for value in each.as_numpy().ravel().tolist()]
        found[each.name] = {"shape": list(each.shape), "data": data}
    return found
