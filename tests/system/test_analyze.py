"""`labelwright analyze` as a user types it: a file or an object store in, a page out, and codes that a Job can act on."""

from __future__ import annotations

import html
from pathlib import Path

import boto3
import numpy as np
import polars as pl
import pytest

from tests.support.commands import labelwright

COLUMNS = ("--text-columns", "text", "--label-column", "label")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    labels = random.choice(["refund", "delivery", "Refund", "praise"], 300, p=[0.5, 0.3, 0.05, 0.15]).tolist()
    texts = [f"{label.lower()} " + " ".join(f"word{at}" for at in random.integers(0, 90, 9)) for label in labels]
    file = tmp_path / "tickets.csv"
    pl.DataFrame({"text": texts, "label": labels}).write_csv(file)
    return file


def test_the_page_is_written_and_its_address_is_the_only_line_on_standard_output(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "new folder" / "page.html"

    done = labelwright("analyze", str(dataset), *COLUMNS, "--output", str(page))

    assert done.stdout.splitlines() == [page.as_uri()]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "suggestion: Rename 'Refund' to 'refund'." in done.stderr


def test_settings_that_the_page_suggests_can_be_trained_with(dataset: Path, tmp_path: Path) -> None:
    page, file = tmp_path / "page.html", tmp_path / "suggested.yaml"
    labelwright("analyze", str(dataset), *COLUMNS, "--output", str(page))
    text = page.read_text(encoding="utf-8")
    file.write_text(html.unescape(text.partition("<pre><code>")[2].partition("</code></pre>")[0]))

    done = labelwright("train", "--config", str(file), "--output-dir", str(tmp_path / "models"))

    assert done.stdout.startswith((tmp_path / "models").as_uri())


def test_a_dataset_of_an_object_store_is_analysed_into_one(dataset: Path, s3_bucket: str) -> None:
    client, bucket = boto3.client("s3"), s3_bucket.removeprefix("s3://").rstrip("/")
    client.upload_file(str(dataset), bucket, "data/tickets.csv")

    done = labelwright("analyze", f"{s3_bucket}data/tickets.csv", *COLUMNS, "--output", f"{s3_bucket}pages/tickets.html")

    assert done.stdout.splitlines() == [f"{s3_bucket}pages/tickets.html"]
    assert client.get_object(Bucket=bucket, Key="pages/tickets.html")["Body"].read().startswith(b"<!DOCTYPE html>")


def test_settings_reach_the_analysis(dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    columns = "dataset: {text_columns: [text], label_columns: [label]}"
    file.write_text(f"{columns}\nprogress: {{log_format: json}}\n")

    done = labelwright(
        "analyze", str(dataset), "--config", str(file), "--set", "dataset.aliases={Refund: refund}",
        "--output", str(tmp_path / "page.html"),
    )  # fmt: skip

    assert all(line.startswith("{") for line in done.stderr.splitlines())
    assert "3 labels" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param(("--text-columns", "body", "--label-column", "label"), 65, "no column 'body'", id="no-such-column"),
        pytest.param((*COLUMNS, "--set", "split.near_duplicates=2"), 64, "split.near_duplicates", id="wrong-setting"),
        pytest.param((*COLUMNS, "--output", "s3://bucket"), 64, "names no page", id="a-bucket-is-no-page"),
        pytest.param((*COLUMNS, "--output", "/"), 64, "is a folder", id="a-folder-is-no-page"),
        pytest.param((*COLUMNS, "--no-such-option"), 64, "No such option", id="unknown-option"),
    ],
)
def test_errors_are_a_sentence_and_an_exit_code(
    dataset: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    output = () if "--output" in arguments else ("--output", str(tmp_path / "page.html"))

    done = labelwright("analyze", str(dataset), *arguments, *output, expect=code)

    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
