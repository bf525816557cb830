"""The transformer architecture: fine-tune a Hugging Face encoder, export and quantize it."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer

from model.artifact import TOKENIZER
from model.classifier import TextTokenizer
from model.manifest import ArchitectureName, Task
from trainer.architectures import devices, distributed
from trainer.architectures.base import Exported
from trainer.architectures.parity import Tolerance, check_parity
from trainer.architectures.transformer import base_model
from trainer.architectures.transformer.base_model import BaseModel
from trainer.architectures.transformer.cache import TokenCache
from trainer.architectures.transformer.export import export_graph, logits_of
from trainer.architectures.transformer.fine_tuning import FineTuned, TrainingData, fine_tune
from trainer.architectures.transformer.network import PooledClassifier
from trainer.architectures.transformer.quantization import quantize_if_harmless
from trainer.attempt import Attempt
from trainer.config.loading import token_folder
from trainer.config.settings import Config
from trainer.data.examples import Examples
from trainer.errors import ConfigRejected
from trainer.run.cost import Cost

log = logging.getLogger(__name__)

PARITY_TEXTS = 64  # of the validation part
TOLERANCE = Tolerance(absolute=1e-3)
HEAD_DROPOUT = 0.1


def fit(train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> Exported:
    """Fine-tune the base model on `train` and export it into `folder`.

    Training resumes from the attempt's newest checkpoint, if there is one. The caller deletes the checkpoints once the
    result is published. Raises Terminated if the attempt was asked to stop, ConfigRejected for a base model that cannot be
    used, StorageError if it cannot be fetched, ExportFailed if the graph differs from the network.
    """
    cost = Cost(gpus=devices.count_gpus() and distributed.world_size())
    base, done, parity = train_and_export(train, validation, config, folder=folder, attempt=attempt)
    precision = quantize_if_harmless(folder, base.text_tokenizer(), validation, threads=devices.use_all_cpus())
    return Exported(
        folder, ArchitectureName.TRANSFORMER, precision, base.max_length, base.name, done.epochs, parity,
        cost.seconds, cost.cpu_seconds, cost.gpu_seconds, cost.peak_memory_bytes, done.best_step,
    )  # fmt: skip


def train_and_export(
    train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt
) -> tuple[BaseModel, FineTuned, float]:
    """Fine-tune and export, without quantization. Return the base model, the result of the training and `Exported.parity`."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="training-") as scratch:
        base, network = _start(train, config, Path(scratch))
        check_exportable(network, base, validation, folder)
        done = _fine_tune(base, network, (train, validation), config, folder=Path(scratch), attempt=attempt)
    return base, done, export(network, base, validation, folder)


def train_as_worker(train: Examples, validation: Examples, config: Config, *, folder: Path, attempt: Attempt) -> None:
    """Train on a rank other than 0, without exporting."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="training-") as scratch:
        base, network = _start(train, config, Path(scratch))
        _fine_tune(base, network, (train, validation), config, folder=Path(scratch), attempt=attempt)


def _start(train: Examples, config: Config, scratch: Path) -> tuple[BaseModel, PooledClassifier]:
    prepare_libraries(config.training.seed)
    log.info("fine-tuning %s on %d threads", config.training.base_model, devices.use_all_cpus())
    base = base_of(config, scratch=scratch)
    return base, new_network(base, train, dropout=config.training.dropout)


def _fine_tune(
    base: BaseModel,
    network: PooledClassifier,
    parts: tuple[Examples, Examples],
    config: Config,
    *,
    folder: Path,
    attempt: Attempt,
) -> FineTuned:
    cache = TokenCache(token_folder(config))
    train, validation = (cache.encode(each, base.tokenizer, max_length=base.max_length) for each in parts)
    return fine_tune(network, TrainingData(train, validation.longest_first()), config, folder=folder, attempt=attempt)


def require_base_model(config: Config, *, scratch: Path) -> None:
    """Raise ConfigRejected or StorageError if the base model cannot be used."""
    prepare_libraries(config.training.seed)
    with TemporaryDirectory(dir=scratch, prefix="base-") as folder:
        base_of(config, scratch=Path(folder))


def prepare_libraries(seed: int) -> None:
    """Seed all random number generators, and turn off the libraries' own log lines and progress bars."""
    transformers.set_seed(seed)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_default_handler()
    transformers.logging.enable_propagation()
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def base_of(config: Config, *, scratch: Path) -> BaseModel:
    """Return the configured base model. Raises what `base_model.load` raises, and ConfigRejected if none is configured."""
    settings = config.training
    if not settings.base_model:
        raise ConfigRejected("training.base_model is not set: the transformer needs an encoder to fine-tune")
    base = base_model.load(settings.base_model, max_length=settings.max_length, dropout=settings.dropout, scratch=scratch)
    if base.max_length < config.training.max_length:
        log.info("training.max_length is lowered to %d tokens, the maximum of %s", base.max_length, base.name)
    return base


def new_network(base: BaseModel, train: Examples, *, dropout: float | None) -> PooledClassifier:
    """Return the base model's network with a new head, whose bias is initialized from the labels' rates in the training part.

    dropout: before the head; None: `HEAD_DROPOUT`.
    """
    rates = np.clip(train.label_counts() / max(1, len(train)), 1e-4, 1 - 1e-4)
    odds = np.log(rates) if train.task is Task.SINGLE_LABEL else np.log(rates / (1 - rates))
    bias = torch.from_numpy(odds.astype(np.float32))
    return PooledClassifier(base.network, bias, dropout=HEAD_DROPOUT if dropout is None else dropout)


def check_exportable(network: PooledClassifier, base: BaseModel, validation: Examples, folder: Path) -> None:
    """Export the network before it is trained. Raises ConfigRejected in the first minute rather than after the last epoch."""
    try:
        export(network, base, validation, folder)
    except Exception as error:  # torch, optimum and onnxruntime each have their own
        why = str(error).strip().split("\n", 1)[0]
        raise ConfigRejected(f"training.base_model is {base.name!r}: it cannot be exported to ONNX: {why}") from error


def export(network: PooledClassifier, base: BaseModel, validation: Examples, folder: Path) -> float:
    """Write graph and tokenizer, and check their parity on validation texts. Return `Exported.parity`; raises ExportFailed."""
    base.tokenizer.no_padding()
    base.tokenizer.no_truncation()
    base.tokenizer.save(str(folder / TOKENIZER))
    export_graph(network, folder, max_length=base.max_length)
    texts = validation.select(np.arange(min(PARITY_TEXTS, len(validation)))).texts()
    written = TextTokenizer(Tokenizer.from_file(str(folder / TOKENIZER)), base.max_length)
    return check_parity(folder, texts, logits_of(network, written, texts), max_length=base.max_length, tolerance=TOLERANCE)
