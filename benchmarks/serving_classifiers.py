"""Make the classifiers of the serving benchmark with the trainer's own steps, and keep them in the output folder.

MiniLM is fitted for only a few steps, so its predictions are useless, which does not affect the speed. The peers get the same
encoder and head as a folder of the transformers library. That head takes the first token through the encoder's pooler, ours the
mean of the tokens; the amount of work is the same.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from model.artifact import GRAPH
from model.manifest import ArchitectureName, Precision
from trainer.attempt import Attempt
from trainer.config.settings import Config
from trainer.pipeline import run
from trainer.preparation import PreparedData, prepare
from trainer.publishing import make_manifest, publish_version
from trainer.selection import ScoredCandidate, score_candidate

LABEL_COUNT = 20
FITTED_TEXTS = 400  # for MiniLM
MAX_LENGTH = 128
NAME = "papers"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Classifiers:
    """Paths of the classifiers.

    minilm: published versions by precision. linear, linear_149: published versions.
    transformers: the peers' folder. optimum: theirs with our int8 graph.
    """

    folder: Path

    @property
    def int8(self) -> Path:
        return self.folder / "models" / NAME / "minilm-int8"

    @property
    def fp32(self) -> Path:
        return self.folder / "models" / NAME / "minilm-fp32"

    @property
    def linear(self) -> Path:
        return self.folder / "models" / NAME / "linear"

    @property
    def linear_149(self) -> Path:
        return self.folder / "models" / NAME / "linear-149"

    @property
    def transformers(self) -> Path:
        return self.folder / "transformers"

    @property
    def optimum(self) -> Path:
        return self.folder / "optimum-int8"


def make_classifiers(data: Path, folder: Path) -> Classifiers:
    """Return the classifiers. Those that do not exist yet are made, which takes some minutes."""
    classifiers = Classifiers(folder)
    source = data / "arxiv" / "train.parquet"
    for version in (classifiers.linear, classifiers.linear_149):
        if not (version / "manifest.json").exists():
            with TemporaryDirectory() as scratch:
                rows = _rows(source, Path(scratch), every_label=version == classifiers.linear_149)
                (Path(scratch) / "run").mkdir()
                config = _config(rows, folder, version.name)
                run(config, Attempt(), scratch=Path(scratch) / "run", now=datetime.now(UTC))
    if not classifiers.optimum.exists():
        with TemporaryDirectory() as scratch:
            _make_minilm(_rows(source, Path(scratch), every_label=False), classifiers, Path(scratch))
    return classifiers


def _rows(source: Path, folder: Path, *, every_label: bool) -> Path:
    """Write the rows of the small subset to a file, and return it; only with the 20 most frequent labels, unless every_label."""
    rows = pl.read_parquet(source, columns=["title", "abstract", "categories", "small"]).filter("small").drop("small")
    if not every_label:
        counts = rows["categories"].explode().value_counts().sort(["count", "categories"], descending=[True, False])
        kept = counts["categories"].head(LABEL_COUNT).to_list()
        rows = rows.with_columns(pl.col("categories").list.filter(pl.element().is_in(kept)))
        rows = rows.filter(pl.col("categories").list.len() > 0)
    rows.write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def _config(rows: Path, folder: Path, version: str, **training: Any) -> Config:
    settings: dict[str, Any] = {
        "name": NAME,
        "version": version,
        "output_dir": str(folder / "models"),
        "dataset": {"uri": str(rows), "label_separator": "", "sample_count": training.pop("sample_count", None)},
        "training": {"architecture": "linear"} | training,
    }
    return Config.model_validate(settings)


def _make_minilm(rows: Path, to: Classifiers, scratch: Path) -> None:
    """Make published versions in both precisions, and the peers' folders. The linear model is their baseline."""
    from trainer.architectures.base import Exported
    from trainer.architectures.linear import fit as linear
    from trainer.architectures.transformer import fit as transformer
    from trainer.architectures.transformer.quantization import quantize

    settings = {"architecture": "transformer", "base_model": "minilm", "max_length": MAX_LENGTH, "num_epochs": 1}
    config = _config(rows, to.folder, to.fp32.name, sample_count=FITTED_TEXTS, batch_size=8, learning_rate=5e-4, **settings)
    (scratch / "data").mkdir()
    data = prepare(config, Attempt(), scratch / "data")
    baseline = score_candidate(linear.fit(data.train, data.validation, config, folder=scratch / "linear"), data.validation)
    base, done, parity = transformer.train_and_export(
        data.train, data.validation, config, folder=scratch / Precision.FP32, attempt=Attempt()
    )
    shutil.copytree(scratch / Precision.FP32, scratch / Precision.INT8)
    (scratch / Precision.INT8 / GRAPH).unlink()
    quantize(scratch / Precision.FP32 / GRAPH, scratch / Precision.INT8 / GRAPH)
    for precision, version in ((Precision.FP32, to.fp32), (Precision.INT8, to.int8)):
        exported = Exported(
            scratch / precision,
            ArchitectureName.TRANSFORMER,
            precision,
            base.max_length,
            base.name,
            done.epochs,
            parity,
            seconds=0.0,
        )
        _publish(config.model_copy(update={"version": version.name}), data, baseline, exported, version)
    _write_for_peers(base.network, data.train.labels, to)


def _publish(config: Config, data: PreparedData, baseline: ScoredCandidate, exported: Any, version: Path) -> None:
    from trainer.evaluation.evaluate import answer
    from trainer.run.cost import Cost

    if (version / "manifest.json").exists():  # of a run that was interrupted before it came to the peers
        shutil.rmtree(version)
    candidate = score_candidate(exported, data.validation)
    answers = answer(candidate.classifier, data.test, "scoring the test part")
    manifest = make_manifest(config, data, [baseline, candidate], candidate, answers, cost=Cost(), now=datetime.now(UTC))
    publish_version(config, data, candidate, answers, manifest)


def _write_for_peers(encoder: Any, labels: tuple[str, ...], to: Classifiers) -> None:
    """Write the encoder and our graph's head in the library's format; and a second folder with our int8 graph."""
    import onnx
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from trainer.architectures.transformer.base_model import PACKAGED, locate

    head = {each.name: each for each in onnx.load(to.fp32 / GRAPH).graph.initializer if each.name.startswith("head.")}
    config = BertConfig.from_dict(encoder.config.to_dict())
    config.update({"problem_type": "multi_label_classification", "architectures": ["BertForSequenceClassification"]})
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: at for at, label in enumerate(labels)}
    network: Any = BertForSequenceClassification(config)  # type: ignore[no-untyped-call]
    network.bert.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        for name, parameter in network.classifier.named_parameters():
            parameter.copy_(torch.tensor(onnx.numpy_helper.to_array(head[f"head.{name}"])))
    shutil.rmtree(to.transformers, ignore_errors=True)
    network.save_pretrained(to.transformers)
    base = locate(PACKAGED, scratch=to.folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(base, model_max_length=MAX_LENGTH)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(to.transformers)
    _edit(to.transformers / "tokenizer.json", padding=None, truncation=None)  # its padding makes titles as long as abstracts
    with TemporaryDirectory(dir=to.folder) as scratch:  # it appears under its name once it is whole
        begun = Path(scratch) / to.optimum.name
        shutil.copytree(to.transformers, begun, ignore=shutil.ignore_patterns("*.safetensors"))
        shutil.copy(to.int8 / GRAPH, begun / GRAPH)
        _edit(begun / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])  # what our graph takes
        begun.rename(to.optimum)


def _edit(path: Path, **fields: Any) -> None:
    """Replace fields of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))
