"""Encoders fine-tuned on the whole arXiv set by `labelwright train`: micro- and macro-F1 on the test set, time, cost.

    python benchmarks/transformer_arxiv.py [--data ../shared/data] [--base-model minilm ~/models/bert-base-uncased] [--rows 1000]

For a machine with a GPU, on which an epoch of 135,000 papers takes minutes. The goals are micro-F1 0.68 and macro-F1 0.60.
`--rows` takes a random sample, to try the script on any machine. A text is a title and an abstract, cut at 256 tokens. `linear`
is fitted on the same texts in the same run. An encoder other than `minilm` is a folder, or a name on the hub.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

GOALS = {"micro_f1": 0.68, "macro_f1": 0.60}
# Of 100 million parameters and more; smaller encoders want larger steps.
LEARNING_RATES = {"minilm": "3e-4"}
LARGE_ENCODER_LEARNING_RATE = "5e-5"


def main() -> None:
    """Train each encoder, and print a line for each."""
    arguments = parse()
    print("encoder               micro-F1  macro-F1  linear micro/macro   seconds  CPU-s  GPU-s  peak GB  ms/text")
    for base in arguments.base_model:
        with TemporaryDirectory() as folder:
            command = command_for(base, arguments, Path(folder))
            began = time.perf_counter()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # its log is on standard error
            manifest = json.loads((Path(done.stdout.strip().removeprefix("file://")) / "manifest.json").read_text())
        report(base, manifest, time.perf_counter() - began)
        print(" ".join(["  by", "labelwright", *command[3:]]))
    print(f"goals: {GOALS}")


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder that holds arxiv/")
    parser.add_argument("--base-model", nargs="+", default=["minilm"])
    parser.add_argument("--rows", type=int, help="a random sample of the training set; none: all")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=256, help="tokens")
    return parser.parse_args()


def command_for(base: str, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Return the command as a user would type it."""
    arxiv = arguments.data / "arxiv"
    settings = {
        "training.learning_rate": LEARNING_RATES.get(base, LARGE_ENCODER_LEARNING_RATE),
        "training.batch_size": arguments.batch_size,
        "training.max_length": arguments.max_length,
        "split.validation_share": 0.05,
    }
    command = [
        sys.executable, "-m", "labelwright", "train",
        "--dataset", str(arxiv / "train.parquet"), "--test-dataset", str(arxiv / "test.parquet"),
        "--architecture", "transformer", "--base-model", base, "--num-epochs", str(arguments.epochs),
        "--output-dir", str(folder), "--name", "arxiv",
    ]  # fmt: skip
    if arguments.rows:
        command += ["--sample-count", str(arguments.rows)]
    return [*command, *(part for name, value in settings.items() for part in ("--set", f"{name}={value}"))]


def report(base: str, manifest: dict[str, Any], seconds: float) -> None:
    """Return a line of the table."""
    scores, training = manifest["scores"], manifest["training"]
    baseline = scores["baseline"]["test"]
    print(
        f"{Path(base).name:20}  {scores['test']['micro_f1']:8.4f}  {scores['test']['macro_f1']:8.4f}  "
        f"{baseline['micro_f1']:.4f} / {baseline['macro_f1']:.4f}    {seconds:7.0f} {training['cpu_seconds']:6.0f} "
        f"{training['gpu_seconds']:6.0f} {training['peak_memory_bytes'] / 1e9:8.1f} {scores['milliseconds_per_text']:8.2f}"
    )


if __name__ == "__main__":
    main()
