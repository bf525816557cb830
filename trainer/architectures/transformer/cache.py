"""Token ids kept on disk by what they were made of, so that the same texts are encoded once: for every run on a machine,
and for every attempt of a Pod whose container is started again.

An entry is one file: `HEADER`, the ids of all texts, where each text ends (int64 [texts]). It is written beside its place
and renamed, so it is there whole or not at all, and its checksum is compared before it is believed. The files of all runs
together are bounded, those that were not used for longest go first. Without a folder that can be written to, texts are
encoded into memory: the cache saves time and decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import tokenizers
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trainer.architectures.transformer.dataset import Ids, TokenizedDataset, cutting, flat_batches
from trainer.data.examples import Examples

log = logging.getLogger(__name__)

FORMAT = 2
MOST_BYTES = 5_000_000_000
MAGIC = b"lwtokens"
# MAGIC, texts, ids, bytes of an id, CRC-32 of all that follows.
HEADER = struct.Struct("<8sQQII")
ENDING = ".tokens"
PART_PREFIX = ".part-"
PART_SECONDS = 24 * 3600  # a part that is older was left by a process that was killed
BLOCK_BYTES = 1 << 22
KINDS: dict[int, type[np.integer[Any]]] = {2: np.uint16, 4: np.int32}


class TokenCache:
    """The encoded texts below a folder, which need not exist yet."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """`most_bytes`: of all entries together; the newest is kept even if it alone is larger."""
        self._folder = folder
        self._most_bytes = most_bytes

    def encode(self, examples: Examples, tokenizer: Tokenizer, *, max_length: int) -> TokenizedDataset:
        """The examples' texts as ids, in order, cut at `max_length` tokens: mapped from the cache, which has them from then on.

        The ids are those of `model.classifier.TextTokenizer`.
        """
        tokenizer = cutting(tokenizer, max_length)
        path = self._folder / f"{key(examples, tokenizer, max_length=max_length)}{ENDING}"
        found = read_entry(path, len(examples))
        if found is None:
            log.info("encoding %s texts", f"{len(examples):,}")
            found = self._made(path, examples, tokenizer)
        else:
            log.info("%s encoded texts are taken from %s", f"{len(examples):,}", path)
        return TokenizedDataset(*found, examples.targets, examples.task, examples.label_required)

    def _made(self, path: Path, examples: Examples, tokenizer: Tokenizer) -> tuple[Ids, NDArray[np.int64]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _replacing(path) as file:
                _write_entry(file, examples, tokenizer)
            found = read_entry(path, len(examples))
            self._make_room(newest=path)
        except OSError as error:
            log.warning("encoded texts are not kept in %s: %s", self._folder, error.strerror or error)
            found = None
        return found or _in_memory(examples, tokenizer)

    def _make_room(self, *, newest: Path) -> None:
        """Delete entries, those that were not used for longest first, until what is left is within the bound; and old parts."""
        for part in self._folder.glob(f"{PART_PREFIX}*"):
            if _facts(part)[0] < time.time() - PART_SECONDS:
                part.unlink(missing_ok=True)
        entries = sorted((*_facts(path), path) for path in self._folder.glob(f"*{ENDING}") if path != newest)
        total = newest.stat().st_size + sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._most_bytes:
                break
            path.unlink(missing_ok=True)  # who has mapped it keeps it
            total -= size


def key(examples: Examples, tokenizer: Tokenizer, *, max_length: int) -> str:
    """SHA-256 over all that decides the ids: the texts in their order, the tokenizer, where it cuts, and this file's format
    (raised, too, when long texts are cut elsewhere)."""
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for texts in examples.text_series():  # two digests, so that it does not matter where a batch ends
        lengths.update(texts.str.len_bytes().cast(pl.UInt64).to_numpy().tobytes())
        content.update(texts.str.join("").cast(pl.Binary).item())
    parts = [FORMAT, tokenizers.__version__, lengths.hexdigest(), content.hexdigest(), max_length, tokenizer.to_str()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_entry(path: Path, texts: int) -> tuple[Ids, NDArray[np.int64]] | None:
    """The ids and the ends of so many texts, mapped from the file; None if there is none, or none that is whole."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            size = os.fstat(file.fileno()).st_size
            if not _fits(header, texts, size) or _checksum(file) != HEADER.unpack(header)[4]:
                log.warning("%s is damaged: its texts are encoded anew", path)
                return None
            content = np.memmap(file, np.uint8, "r").view(np.ndarray)
        os.utime(path)  # used just now
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror or error)
        return None
    _, _, count, width, _ = HEADER.unpack(header)
    ids = content[HEADER.size : HEADER.size + count * width].view(KINDS[width])
    return ids, content[size - 8 * texts :].view(np.int64)


def _fits(header: bytes, texts: int, size: int) -> bool:
    """Whether this header is that of a file of so many texts and bytes."""
    if len(header) != HEADER.size:
        return False
    magic, found, count, width, _ = HEADER.unpack(header)
    return magic == MAGIC and found == texts and width in KINDS and size == _start_of_ends(count * width) + 8 * texts


def _start_of_ends(bytes_of_ids: int) -> int:
    return HEADER.size + -(-bytes_of_ids // 8) * 8


def _checksum(file: BinaryIO) -> int:
    """CRC-32 from where the file stands to its end."""
    found = 0
    while block := file.read(BLOCK_BYTES):
        found = zlib.crc32(block, found)
    return found


def _write_entry(file: BinaryIO, examples: Examples, tokenizer: Tokenizer) -> None:
    """Batch by batch: what is held at once does not grow with the texts, but for eight bytes of each."""
    lengths, checksum, count, width = [np.zeros(0, np.int64)], 0, 0, 4
    file.write(bytes(HEADER.size))
    for ids, some in flat_batches(examples, tokenizer):
        checksum = zlib.crc32(ids.data, checksum)
        file.write(ids.data)
        lengths.append(some)
        count, width = count + len(ids), ids.itemsize
    padding = bytes(_start_of_ends(count * width) - file.tell())
    tail = padding + np.cumsum(np.concatenate(lengths)).tobytes()
    file.write(tail)
    file.seek(0)
    file.write(HEADER.pack(MAGIC, len(examples), count, width, zlib.crc32(tail, checksum)))


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its place in one step once it is on the disk."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=PART_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _facts(path: Path) -> tuple[float, int]:
    """When the file was last used, and its bytes; zeros if another process has just taken it away."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return found.st_mtime, found.st_size


def _in_memory(examples: Examples, tokenizer: Tokenizer) -> tuple[Ids, NDArray[np.int64]]:
    batches = list(flat_batches(examples, tokenizer))
    if not batches:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    return np.concatenate([ids for ids, _ in batches]), np.cumsum(np.concatenate([lengths for _, lengths in batches]))
