"""A real encoder, fine-tuned by the command."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from tests.support.commands import labelwright

TEXTS = {
    "kitchen": ["steel pan with lid", "bread knife", "set of six glass tumblers", "non stick baking tray"],
    "phones": ["case for iphone 6", "micro usb charger", "tempered glass screen guard", "selfie stick with cable"],
}


def test_the_packaged_minilm_learns_in_one_epoch_and_is_served_from_onnx(tmp_path: Path) -> None:
    rows = [(f"{text} {number}", label) for label, texts in TEXTS.items() for text in texts for number in range(24)]
    file = tmp_path / "products.csv"
    pl.DataFrame(rows, schema=["name", "category"], orient="row").write_csv(file)
    done = labelwright(
        "train", "--dataset", str(file), "--text-columns", "name", "--label-column", "category", "--name", "products",
        "--output-dir", str(tmp_path / "models"), "--architecture", "transformer", "--base-model", "minilm",
        "--num-epochs", "1", "--set", "training.learning_rate=5e-4", "--set", "balance.loss=weighted",
    )  # fmt: skip
    uri = done.stdout.splitlines()[-1]
    manifest = json.loads((Path(uri.removeprefix("file://")) / "manifest.json").read_text())
    assert manifest["training"]["architecture"] == "transformer"
    assert manifest["training"]["base_model"] == "minilm"
    assert manifest["scores"]["test"]["micro_f1"] > 0.9
    assert manifest["scores"]["baseline"]["architecture"] == "linear"
    predicted = labelwright("predict", uri, "--", "usb cable for charging", "frying pan").stdout.splitlines()
    assert [json.loads(line)["labels"] for line in predicted] == [["phones"], ["kitchen"]]
