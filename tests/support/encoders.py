"""Encoders small enough to be trained in a test, and texts from which they learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from model.manifest import Task
from trainer.config.settings import Config
from trainer.data.examples import Examples

WORDS = {
    "cats": ("purr", "whiskers", "meow", "kitten"),
    "dogs": ("bark", "fetch", "puppy", "leash"),
    "fish": ("gills", "swim", "tank", "scales"),
}
FILLERS = ("the", "a", "very", "some", "of", "and", "with", "old", "new", "big")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*SPECIAL, *FILLERS, *(word for words in WORDS.values() for word in words))


def write_tiny_bert(folder: Path, *, embeddings: int = len(VOCABULARY), positions: int = 64) -> Path:
    """Write a BERT of two layers with random weights and a tokenizer of a few words, in the format of the hub."""
    set_seed(0)
    config = BertConfig(  # type: ignore[no-untyped-call]
        vocab_size=embeddings,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertModel(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer = Tokenizer(models.WordPiece({word: at for at, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=16)  # as many files of the hub do
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    fast.save_pretrained(folder)
    return folder


def pet_examples(folder: Path, *, count: int, task: Task, seed: int = 0) -> Examples:
    """Return sentences about one animal if single-label, about any number of them if multi-label."""
    random = np.random.default_rng(seed)
    names = sorted(WORDS)
    if task is Task.SINGLE_LABEL:
        targets = np.eye(len(names), dtype=np.uint8)[random.integers(0, len(names), count)]
    else:
        targets = (random.random((count, len(names))) < 0.4).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"texts-{seed}.parquet"
    pl.DataFrame({"text": [_sentence(row, names, random) for row in targets]}).write_parquet(file)
    return Examples(file, np.arange(count), tuple(names), csr_matrix(targets), task)


def training(base_model: Path | str, **settings: object) -> Config:
    """Return a configuration that trains a tiny encoder in seconds."""
    defaults = {"num_epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "max_length": 32, "evaluations_per_epoch": 1}
    return Config.model_validate({"training": {**defaults, "base_model": str(base_model), **settings}})


def _sentence(row: np.ndarray, names: list[str], random: np.random.Generator) -> str:
    naming = [str(random.choice(WORDS[names[at]])) for at in np.flatnonzero(row)]
    words = naming + [str(each) for each in random.choice(FILLERS, random.integers(2, 12))]
    return " ".join(random.permutation(words))
