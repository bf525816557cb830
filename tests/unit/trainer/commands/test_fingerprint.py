"""`labelwright fingerprint`: the hash that a training would write down, without one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model.run_result import RunResult
from model.storage import FileStore, open_store
from trainer.commands.fingerprint import fingerprint
from trainer.config.settings import DatasetConfig
from trainer.data.reading import read_examples

FILES = {
    "b/rows.jsonl": [{"title": "On cats", "abstract": "Cats eat.", "categories": "pets"}] * 4,
    "a.jsonl": [{"title": "On cows", "abstract": "Cows eat.", "categories": "farm"}] * 4,
    "b-2/rows.jsonl": [{"title": "On dogs", "abstract": "Dogs eat.", "categories": "pets"}] * 4,
}
HIDDEN = ("_SUCCESS", ".git/config", "b/.rows.jsonl.crc")
HEAVY = ("torch", "polars", "sklearn", "scipy", "numpy", "transformers", "pyarrow")


@pytest.fixture(params=["file", "s3"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri = (tmp_path / "data").as_uri() + "/" if request.param == "file" else f"{request.getfixturevalue('s3_bucket')}data/"
    store = open_store(uri)
    for name, rows in FILES.items():
        store.write(name, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    for name in HIDDEN:
        store.write(name, b"not texts")
    return uri


def run(*arguments: str, expect: int = 0) -> Result:
    done = CliRunner().invoke(fingerprint, list(arguments))
    assert done.exit_code == expect, done.output
    return done


@pytest.mark.parametrize("below", ["", "*.jsonl", "**/*.jsonl", "a.jsonl", "b/"])
def test_it_is_the_hash_that_a_training_writes_down(dataset: str, below: str, tmp_path: Path) -> None:
    uri, scratch = dataset + below, tmp_path / "scratch"
    scratch.mkdir()
    single = ["--set", "dataset.minimum_examples=1"]
    trained = DatasetConfig.model_validate({"uri": dataset, "minimum_examples": 1})
    whole = read_examples(trained, scratch=scratch, seed=0).facts.sha256

    (line,) = run("--dataset", uri, *single).stdout.splitlines()

    assert line == f"{line[:64]}  {uri}"
    if not below:
        assert line[:64] == whole
    named = {"": list(FILES), "*.jsonl": ["a.jsonl"], "**/*.jsonl": list(FILES), "a.jsonl": ["a.jsonl"], "b/": ["b/rows.jsonl"]}
    content = b"".join(open_store(dataset).read(name) for name in sorted(named[below]))
    assert line[:64] == hashlib.sha256(content).hexdigest()


def test_the_result_has_both_hashes(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELWRIGHT__RESULT_FILE", str(tmp_path / "result"))

    lines = run("--dataset", dataset, "--test-dataset", f"{dataset}a.jsonl").stdout.splitlines()

    result = RunResult.model_validate_json((tmp_path / "result").read_bytes())
    assert [line[:64] for line in lines] == [result.dataset_sha256, result.test_sha256]
    assert (result.exit_code, result.gate, result.version) == (0, None, None)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--dataset", "/nothing/here.csv"], 65, "dataset.uri '/nothing/here.csv': there is no file", id="no-file"),
        pytest.param(["--test-dataset", "/nothing.csv"], 65, "dataset.test_uri '/nothing.csv': there is no file", id="no-test"),
        pytest.param(["--dataset", "ftp://x/"], 64, "ftp://x", id="unknown-scheme"),
        pytest.param(["--dataset", "s3://no-such-bucket-here/x"], 64, "dataset.uri", id="no-such-bucket"),
        pytest.param(["--set", "dataset.url=x"], 64, "dataset.url is not a setting", id="unknown-setting"),
    ],
)
def test_errors_are_reported_as_by_a_training(
    arguments: list[str], code: int, message: str, tmp_path: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("title,categories\n")
    monkeypatch.setenv("LABELWRIGHT__DATASET__URI", str(tmp_path / "rows.csv"))
    monkeypatch.setenv("LABELWRIGHT__RESULT_FILE", str(tmp_path / "result"))

    run(*arguments, expect=code)

    result = RunResult.model_validate_json((tmp_path / "result").read_bytes())
    assert result.exit_code == code
    assert message in result.message


def test_a_storage_that_is_away_may_be_tried_again(tmp_path: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    run("--dataset", f"{s3_bucket}rows.csv", expect=75)


def test_no_object_stays_on_the_disk(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run("--dataset", dataset)
    assert list(FileStore(scratch).list()) == []


def test_it_imports_nothing_that_reads_texts(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("title,categories\n")
    program = (
        "import sys; from labelwright.__main__ import main\n"
        f"main(['fingerprint', '--dataset', {str(tmp_path / 'rows.csv')!r}], standalone_mode=False)\n"
        f"print([each for each in {HEAVY} if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
