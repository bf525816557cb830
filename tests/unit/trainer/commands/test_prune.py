"""`labelwright prune`: versions go, manifest first, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model.artifact import MANIFEST, publish, read_manifest
from model.run_result import RunResult
from model.storage import open_store
from tests.support.versions import make_version
from trainer.commands.prune import prune


@pytest.fixture(params=["file", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Two versions of papers with the checkpoints of both, one of others, and things that are no versions."""
    uri = (tmp_path / "models").as_uri() if request.param == "file" else f"{request.getfixturevalue('s3_bucket')}models"
    for classifier, version in (("papers", "v1"), ("papers", "v2"), ("papers", "v2.1"), ("others", "v1")):
        folder = make_version(tmp_path / "made", classifier=classifier, version=version)
        publish(folder, read_manifest(folder), open_store(f"{uri}/{classifier}/{version}/"))
        checkpoints = open_store(f"{uri}/checkpoints/{classifier}/{version}/")
        checkpoints.write("run.json", b"{}")
        checkpoints.write("000000010/index.json", b"{}")
        shutil.rmtree(folder)
    open_store(uri).write("papers/notes.txt", b"mine")
    open_store(uri).write("papers/texts/part-0.parquet", b"mine")
    open_store(uri).write("papers/v1/mine.txt", b"mine")
    return uri


def keys(uri: str, prefix: str = "") -> set[str]:
    return {each.key for each in open_store(uri).list(prefix)}


def run(output: str, *arguments: str, expect: int = 0) -> Result:
    done = CliRunner().invoke(prune, ["--output-dir", output, "--name", "papers", *arguments])
    assert done.exit_code == expect, done.output
    return done


def test_a_version_and_its_checkpoints_go_and_nothing_else_does(output: str) -> None:
    before = keys(output)

    assert run(output, "v2").stdout.splitlines() == [f"{output}/papers/v2/"]

    gone = before - keys(output)
    assert gone == {
        "papers/v2/manifest.json", "papers/v2/model.onnx", "papers/v2/tokenizer.json",
        "checkpoints/papers/v2/run.json", "checkpoints/papers/v2/000000010/index.json",
    }  # fmt: skip


def test_what_is_no_part_of_the_version_stays(output: str) -> None:
    run(output, "v1")
    assert keys(output, "papers/v1/") == {"papers/v1/mine.txt"}


def test_all_versions_go_and_what_is_none_stays(output: str) -> None:
    assert len(run(output, "--all").stdout.splitlines()) == 3
    assert keys(output, "papers/") == {"papers/notes.txt", "papers/texts/part-0.parquet", "papers/v1/mine.txt"}
    assert keys(output, "checkpoints/papers/") == set()
    assert keys(output, "others/") == {"others/v1/manifest.json", "others/v1/model.onnx", "others/v1/tokenizer.json"}
    assert run(output, "--all").stdout == ""


def test_what_an_unfinished_training_has_left_goes_with_all(output: str) -> None:
    for key in ("run.json", "000000010/index.json", "000000010/weights"):
        open_store(f"{output}/checkpoints/papers/v3/").write(key, b"{}")
    run(output, "v1", "v2", "v2.1")
    assert run(output, "--all").stdout.splitlines() == [f"{output}/papers/v3/"]
    assert keys(output, "checkpoints/") == {"checkpoints/others/v1/run.json", "checkpoints/others/v1/000000010/index.json"}


def test_it_may_be_repeated_and_a_version_that_is_not_there_is_fine(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT__RESULT_FILE", str(tmp_path / "result"))
    for _ in range(2):
        run(output, "v1", "v2", "never-was")
        result = RunResult.model_validate_json((tmp_path / "result").read_bytes())
        assert (result.exit_code, result.classifier, result.message) == (0, "papers", "")


def test_the_checkpoints_of_all_classifiers_are_no_classifier(output: str) -> None:
    before = keys(output)
    CliRunner().invoke(prune, ["--output-dir", output, "--name", "checkpoints", "--all", "papers"])
    CliRunner().invoke(prune, ["--output-dir", output, "--name", "checkpoints", "--all"])
    CliRunner().invoke(prune, ["--output-dir", output, "--name", "checkpoints", "papers"])
    assert keys(output) == before


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no-version"),
        pytest.param(["--all", "v1"], id="both"),
        pytest.param(["../others/v1"], id="a-way-out"),
        pytest.param([".."], id="the-folder-above"),
        pytest.param([""], id="empty"),
        pytest.param(["--", "-"], id="no-name"),
        pytest.param(["--name", "..", "v1"], id="a-classifier-above"),
        pytest.param(["--output-dir", "ftp://x", "v1"], id="unknown-storage"),
    ],
)
def test_what_names_no_version_is_refused_and_nothing_is_deleted(
    output: str, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELWRIGHT__RESULT_FILE", str(tmp_path / "result"))
    before = keys(output)
    run(output, *arguments, expect=64)
    assert keys(output) == before
    assert RunResult.model_validate_json((tmp_path / "result").read_bytes()).exit_code == 64


def test_a_deletion_that_was_cut_off_leaves_no_version_and_is_ended_by_the_next(output: str) -> None:
    store = open_store(f"{output}/papers/v2/")
    store.delete(MANIFEST)  # what is deleted first
    run(output, "--all")
    assert keys(output, "papers/v2/") == set()
