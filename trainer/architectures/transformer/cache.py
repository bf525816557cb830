"""Cache of token ids on disk, by a hash of texts and tokenizer: later runs on the machine, and restarted containers of a
Pod, do not encode the same texts again.

An entry is one file: `HEADER`, the ids of all texts, the end of each text (int64 [texts]). It is written under another name
and renamed, so it is never incomplete, and its checksum is verified before use. The total size is bounded; the least
recently used entries are deleted first. If the folder cannot be written, texts are encoded into memory.
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

from trainer.architectures.transformer.dataset import Ids, TokenizedDataset, flat_batches, truncating
from trainer.data.examples import Examples

log = logging.getLogger(__name__)

FORMAT = 2
MOST_BYTES = 5_000_000_000
MAGIC = b"lwtokens"
# MAGIC, number of texts, number of ids, bytes per id, CRC-32 of the rest of the file.
HEADER = struct.Struct("<8sQQII")
ENDING = ".tokens"
PART_PREFIX = ".part-"
PART_SECONDS = 24 * 3600  # an older part was left by a process that was killed
BLOCK_BYTES = 1 << 22
KINDS: dict[int, type[np.integer[Any]]] = {2: np.uint16, 4: np.int32}


class TokenCache:
    """Token cache in a folder, which is created if needed."""

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Keep at most `most_bytes` of entries in total. The newest entry is kept even if it alone is larger."""
        self._folder = folder
        self._most_bytes = most_bytes

    def encode(self, examples: Examples, tokenizer: Tokenizer, *, max_length: int) -> TokenizedDataset:
        """Return the token ids of the texts, in order, cut at `max_length` tokens. Read them from the cache, or add them to it.

        The ids are the same as those of `model.classifier.TextTokenizer`.
        """
        tokenizer = truncating(tokenizer, max_length)
        path = self._folder / f"{key(examples, tokenizer, max_length=max_length)}{ENDING}"
        entry = read_entry(path, len(examples))
        if entry is None:
            log.info("encoding %s texts", f"{len(examples):,}")
            entry = self._create(path, examples, tokenizer)
        else:
            log.info("reading %s encoded texts from %s", f"{len(examples):,}", path)
        return TokenizedDataset(*entry, examples.targets, examples.task, examples.label_required)

    def _create(self, path: Path, examples: Examples, tokenizer: Tokenizer) -> tuple[Ids, NDArray[np.int64]]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _replacing(path) as file:
                _write_entry(file, examples, tokenizer)
            entry = read_entry(path, len(examples))
            self._make_room(newest=path)
        except OSError as error:
            log.warning("encoded texts cannot be cached in %s: %s", self._folder, error.strerror or error)
            entry = None
        return entry or _in_memory(examples, tokenizer)

    def _make_room(self, *, newest: Path) -> None:
        """Delete old parts, and the least recently used entries until the rest is within the bound."""
        for part in self._folder.glob(f"{PART_PREFIX}*"):
            if _facts(part)[0] < time.time() - PART_SECONDS:
                part.unlink(missing_ok=True)
        entries = sorted((*_facts(path), path) for path in self._folder.glob(f"*{ENDING}") if path != newest)
        total = newest.stat().st_size + sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._most_bytes:
                break
            path.unlink(missing_ok=True)  # processes that have mapped it can still read it
            total -= size


def key(examples: Examples, tokenizer: Tokenizer, *, max_length: int) -> str:
    """Return a SHA-256 of everything that determines the ids: texts, tokenizer, `max_length` and FORMAT.

    FORMAT is also raised when `model.text_length` changes.
    """
    lengths, content = hashlib.sha256(), hashlib.sha256()
    for texts in examples.text_series():  # two digests, so that the result does not depend on the batches
        lengths.update(texts.str.len_bytes().cast(pl.UInt64).to_numpy().tobytes())
        content.update(texts.str.join("").cast(pl.Binary).item())
    parts = [FORMAT, tokenizers.__version__, lengths.hexdigest(), content.hexdigest(), max_length, tokenizer.to_str()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_entry(path: Path, texts: int) -> tuple[Ids, NDArray[np.int64]] | None:
    """Return the ids and the ends of `texts` texts, memory-mapped; None if the file does not exist or is damaged."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
            size = os.fstat(file.fileno()).st_size
            if not _fits(header, texts, size) or _checksum(file) != HEADER.unpack(header)[4]:
                log.warning("%s is damaged: its texts are encoded again", path)
                return None
            content = np.memmap(file, np.uint8, "r").view(np.ndarray)
        os.utime(path)  # the time of the last use
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror or error)
        return None
    _, _, count, width, _ = HEADER.unpack(header)
    ids = content[HEADER.size : HEADER.size + count * width].view(KINDS[width])
    return ids, content[size - 8 * texts :].view(np.int64)


def _fits(header: bytes, texts: int, size: int) -> bool:
    """Return whether the header is valid for a file with `texts` texts and `size` bytes."""
    if len(header) != HEADER.size:
        return False
    magic, text_count, count, width, _ = HEADER.unpack(header)
    return magic == MAGIC and text_count == texts and width in KINDS and size == _start_of_ends(count * width) + 8 * texts


def _start_of_ends(bytes_of_ids: int) -> int:
    return HEADER.size + -(-bytes_of_ids // 8) * 8


def _checksum(file: BinaryIO) -> int:
    """Return the CRC-32 from the file's current position to its end."""
    checksum = 0
    while block := file.read(BLOCK_BYTES):
        checksum = zlib.crc32(block, checksum)
    return checksum


def _write_entry(file: BinaryIO, examples: Examples, tokenizer: Tokenizer) -> None:
    """Encode and write batch by batch. Memory grows only by eight bytes per text."""
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
    """Yield a file that replaces `path` in one step once its content is on the disk."""
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
    """Return the time of the file's last use and its size in bytes; zeros if another process has just deleted it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return status.st_mtime, status.st_size


def _in_memory(examples: Examples, tokenizer: Tokenizer) -> tuple[Ids, NDArray[np.int64]]:
    batches = list(flat_batches(examples, tokenizer))
    if not batches:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    return np.concatenate([ids for ids, _ in batches]), np.cumsum(np.concatenate([lengths for _, lengths in batches]))
