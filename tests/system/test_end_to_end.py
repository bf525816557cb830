"""From labelled texts to answers over the network: the commands as a user types them, a real S3, a real server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from labelwright import demo_dataset
from model.manifest import Manifest
from tests.support.commands import labelwright
from tests.support.servers import serving

LIBRARIES = ("networkx", "polars", "pydantic")
TEXTS = ["Shortest path between two nodes of a weighted graph.", "Validate a field of the model with the given schema.", ""]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("dataset") / "docstrings.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_dataset, "LIBRARIES", LIBRARIES)
        demo_dataset.write_dataset(file)
    return file


def train(dataset: Path, output: str, *more: str) -> str:
    done = labelwright(
        "train", "--dataset", dataset.as_uri(), "--text-columns", "text", "--label-column", "labels",
        "--output-dir", output, "--name", "docs", *more,
    )  # fmt: skip
    (uri,) = done.stdout.splitlines()
    return uri


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a version in a folder."""
    return train(dataset, tmp_path_factory.mktemp("models").as_uri())


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest) -> str:
    """Address of a version of the whole dataset."""
    if request.param == "file":
        return str(request.getfixturevalue("trained"))
    return train(request.getfixturevalue("dataset"), f"{request.getfixturevalue('s3_bucket')}models")


def test_labelled_texts_become_answers_over_every_protocol(uri: str, tmp_path: Path) -> None:
    assert re.fullmatch(r"(file:///.+|s3://.+/models)/docs/[^/]+/", uri)
    predicted = [json.loads(line) for line in labelwright("predict", uri, "--", *TEXTS).stdout.splitlines()]
    assert predicted[0]["labels"][0] == "networkx"
    assert predicted[1]["labels"][0] == "pydantic"
    with serving(uri, tmp_path / "server.log") as server:
        answers = {
            "v1": ask_v1(server.rest),
            "rest": asyncio.run(ask_rest(server.rest)),
            "grpc": asyncio.run(ask_grpc(server.grpc)),
        }
    expected = [(each["labels"], each["scores"]) for each in predicted]
    for protocol, answer in answers.items():
        assert [labels for labels, _ in answer] == [labels for labels, _ in expected], protocol
        for (_, found), (_, wanted) in zip(answer, expected, strict=True):
            assert found == pytest.approx(wanted, abs=1e-5), protocol


def test_the_manifest_holds_scores_beside_a_baseline_and_where_they_come_from(dataset: Path, trained: str) -> None:
    folder = Path(trained.removeprefix("file://"))
    raw = json.loads((folder / "manifest.json").read_text())
    manifest = Manifest.model_validate(raw)
    assert {each.name for each in folder.iterdir()} == {
        "manifest.json",
        "model.onnx",
        "parts.bin",
        "report.html",
        "tokenizer.json",
    }
    for score in ("micro_f1", "macro_f1", "samples_f1", "weighted_f1", "subset_accuracy"):
        assert 0.3 < raw["scores"]["test"][score] <= 1
        assert 0.3 < raw["scores"]["baseline"]["test"][score] <= 1
    assert manifest.dataset.uri == dataset.as_uri()
    assert manifest.dataset.rows == len(pl.read_parquet(dataset))
    assert sum(manifest.training.examples.values()) == manifest.dataset.rows


def test_evaluating_on_the_dataset_repeats_what_the_version_predicts(dataset: Path, trained: str, tmp_path: Path) -> None:
    labelwright(
        "evaluate", "--model-path", trained, "--dataset", dataset.as_uri(), "--text-columns", "text", "--label-column", "labels",
        "--output-dir", str(tmp_path / "scores"),
    )  # fmt: skip
    result = json.loads((tmp_path / "scores" / "scores.json").read_text())
    manifest = json.loads((Path(trained.removeprefix("file://")) / "manifest.json").read_text())
    assert result["labels"] == manifest["labels"]
    assert result["thresholds"] == manifest["thresholds"]
    assert result["scores"]["test"]["texts"] == len(pl.read_parquet(dataset))
    assert 0.3 < result["scores"]["test"]["micro_f1"] <= 1
    assert result["scores"]["baseline"]["test"]["micro_f1"] == result["scores"]["test"]["micro_f1"]


def test_the_same_seed_publishes_the_same_graph_and_a_published_version_is_never_written_again(
    dataset: Path, tmp_path: Path
) -> None:
    same = ("--sample-count", "500", "--set", "version=v1")
    uri, other = (train(dataset, tmp_path.as_uri(), "--sample-count", "500", "--set", f"version={each}") for each in ("v1", "v2"))
    first, second = ((Path(each.removeprefix("file://")) / "model.onnx").read_bytes() for each in (uri, other))
    assert first == second

    before = (Path(uri.removeprefix("file://")) / "manifest.json").read_bytes()
    assert train(dataset, tmp_path.as_uri(), *same) == uri  # as a Job's second Pod, whose first one could not tell
    done = labelwright(
        "train", "--dataset", dataset.as_uri(), "--text-columns", "text", "--label-column", "labels",
        "--output-dir", tmp_path.as_uri(), "--name", "docs", *same, "--seed", "1", expect=64,
    )  # fmt: skip
    assert "is already published, with other settings" in done.stderr
    assert (Path(uri.removeprefix("file://")) / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["--label-column", "category"], 65, ["category", "'text', 'labels'"], id="column-that-is-not-there"),
        pytest.param(["--architecture", "forest"], 64, ["forest", "linear"], id="unknown-architecture"),
        pytest.param(["--architecture", "transformer"], 64, ["base_model"], id="transformer-of-nothing"),
        pytest.param(["--set", "training.speed=9"], 64, ["training.speed"], id="unknown-setting"),
        pytest.param(["--output-dir", "ftp://x/"], 64, ["ftp://x", "s3://"], id="unknown-storage"),
        pytest.param(["--output-dir", "/dev/null/models"], 64, ["/dev/null/models"], id="output-that-is-no-folder"),
        pytest.param(["--sample-count", "0"], 64, ["dataset.sample_count", "0"], id="no-sample"),
        pytest.param(["--name", "My Name"], 64, ["name", "My Name", "lower-case"], id="name-that-no-resource-has"),
        pytest.param(["--base-model", "/nothing"], 64, ["/nothing"], id="no-such-base-model"),
        pytest.param(["--test-dataset", "/nothing.csv"], 65, ["dataset.test_uri", "/nothing.csv"], id="no-such-test-set"),
        pytest.param(["--dataset", "file:///nothing/here.csv"], 65, ["here.csv"], id="no-such-file"),
    ],
)
def test_what_is_wrong_ends_with_a_sentence_and_its_code(
    dataset: Path, tmp_path: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    done = labelwright(
        "train", "--dataset", dataset.as_uri(), "--text-columns", "text", "--label-column", "labels",
        "--output-dir", tmp_path.as_uri(), *arguments, expect=code,
    )  # fmt: skip
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr.splitlines()[-1]


def ask_v1(server: str) -> list[tuple[list[str], list[float]]]:
    answer = httpx.post(f"{server}/v1/models/docs:predict", json={"instances": TEXTS}).raise_for_status().json()
    return [(each["labels"], each["scores"]) for each in answer["predictions"]]


async def ask_rest(server: str) -> list[tuple[list[str], list[float]]]:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        return _rows(await client.infer(server, _request(), model_name="docs"))
    finally:
        await client.close()


async def ask_grpc(server: str) -> list[tuple[list[str], list[float]]]:
    client = InferenceGRPCClient(server)
    try:
        return _rows(await client.infer(_request()))
    finally:
        await client.close()


def _request() -> InferRequest:
    text = InferInput("text", [len(TEXTS)], "BYTES")
    text.set_data_from_numpy(np.array([each.encode() for each in TEXTS], np.object_), binary_data=False)
    return InferRequest("docs", [text])


def _rows(response: Any) -> list[tuple[list[str], list[float]]]:
    outputs = {each.name: each.as_numpy() for each in response.outputs}
    rows = []
    for labels, scores in zip(outputs["labels"], outputs["scores"], strict=True):
        names = [each.decode() if isinstance(each, bytes) else each for each in labels]
        rows.append(([name for name in names if name], [float(score) for score, name in zip(scores, names, strict=True) if name]))
    return rows
