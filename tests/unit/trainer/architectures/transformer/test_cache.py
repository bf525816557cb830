"""The same texts are encoded once, and come back as they were encoded, whatever became of the file meanwhile."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from model.classifier import TextTokenizer
from model.manifest import Task
from trainer.architectures.transformer import dataset
from trainer.architectures.transformer.cache import ENDING, PART_PREFIX, PART_SECONDS, TokenCache, key
from trainer.architectures.transformer.dataset import TokenizedDataset
from trainer.data.examples import Examples

WORDS = ("purr", "bark", "swim", "the", "of", "\U0001f600", "\x00")
TEXTS = ["purr the bark", "", "swim of swim of swim", "\U0001f600 purr", "\x00", "é è purr"]


def tokenizer_of(words: Sequence[str] = WORDS, *, others: int = 0) -> Tokenizer:
    """Knows so many others, which come before these."""
    known = ["[UNK]", "[CLS]", "[SEP]", *map("other{}".format, range(others)), *words]
    vocabulary = {word: at for at, word in enumerate(known)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    made.enable_padding(length=16)  # as files of the hub often say, and nobody wants
    return made


WIDE = tokenizer_of(others=70_000)


def examples_of(texts: Sequence[str], folder: Path) -> Examples:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"texts-{len(list(folder.iterdir()))}.parquet"
    pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).write_parquet(file)
    targets = csr_matrix(np.ones((len(texts), 1), np.uint8))
    return Examples(file, np.arange(len(texts)), ("a",), targets, Task.MULTI_LABEL)


def ids_of(tokens: TokenizedDataset) -> list[list[int]]:
    return [tokens.text(at).tolist() for at in range(len(tokens))]


def served(texts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> list[list[int]]:
    """The ids that the server computes."""
    return [each.ids for each in TextTokenizer(Tokenizer.from_str(tokenizer.to_str()), max_length).encode(texts)]


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{ENDING}"))


word_or_anything = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LONG = st.sampled_from(["\ufdfa" * 60, " " * 500, "purr " * 90, "x" * 400])  # longer than what is tokenised, once normalised
any_text = st.lists(word_or_anything | LONG, max_size=12).map(" ".join)


@settings(max_examples=40)
@given(texts=st.lists(any_text, max_size=9), max_length=st.integers(3, 12), wide=st.booleans())
def test_any_texts_come_back_as_the_server_encodes_them(
    texts: list[str], max_length: int, wide: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    tokenizer = WIDE if wide else tokenizer_of()
    examples, cache = examples_of(texts, folder / "texts"), TokenCache(folder / "tokens")
    made = cache.encode(examples, tokenizer, max_length=max_length)
    kept = cache.encode(examples, tokenizer, max_length=max_length)

    assert ids_of(made) == ids_of(kept) == served(texts, tokenizer, max_length)
    assert kept.ids.itemsize == (4 if wide or not texts else 2)
    assert len(entries(folder / "tokens")) == 1
    assert kept.longest_first().lengths.tolist() == sorted(kept.lengths.tolist(), reverse=True)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
def test_batches_of_any_size_have_the_same_ids(size: int, tmp_path: Path) -> None:
    batches = list(dataset.flat_batches(examples_of(TEXTS, tmp_path), dataset.truncating(tokenizer_of(), 8), size))

    assert [len(lengths) for _, lengths in batches[:-1]] == [size] * (len(batches) - 1)
    assert [int(each) for ids, _ in batches for each in ids] == [each for ids in served(TEXTS, tokenizer_of(), 8) for each in ids]


def test_what_is_kept_is_not_encoded_again(tmp_path: Path) -> None:
    examples, cache = examples_of(TEXTS, tmp_path / "texts"), TokenCache(tmp_path / "tokens")
    cache.encode(examples, tokenizer_of(), max_length=8)
    [entry] = entries(tmp_path / "tokens")
    before = entry.stat().st_ino

    cache.encode(examples, tokenizer_of(), max_length=8)

    assert [each.stat().st_ino for each in entries(tmp_path / "tokens")] == [before]


def test_a_key_differs_with_each_of_its_parts(tmp_path: Path) -> None:
    texts = [
        TEXTS,
        TEXTS[:-1],
        [*TEXTS, ""],
        TEXTS[::-1],
        [TEXTS[0] + TEXTS[2], "", *TEXTS[3:], ""],
        ["purr", "bark"],
        ["pur", "rbark"],
    ]
    tokenizers = [tokenizer_of(), tokenizer_of(WORDS[::-1]), tokenizer_of(others=1)]
    found = [
        key(examples_of(each, tmp_path), tokenizer, max_length=max_length)
        for each, tokenizer, max_length in itertools.product(texts, tokenizers, (8, 9))
    ]

    assert len(set(found)) == len(found)


def test_a_key_does_not_depend_on_where_the_texts_lie(tmp_path: Path) -> None:
    whole, part = examples_of(["swim", *TEXTS, "of"], tmp_path / "a"), examples_of(TEXTS, tmp_path / "b")
    same = whole.select(np.arange(1, 1 + len(TEXTS)))

    assert key(same, tokenizer_of(), max_length=8) == key(part, tokenizer_of(), max_length=8)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: whole[:-1], id="last-byte-lost"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: whole[:10], id="within-the-header"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda whole: whole + b"\0", id="longer"),
        pytest.param(lambda whole: whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], id="one-bit-of-an-id"),
        pytest.param(lambda whole: whole[:-8] + bytes(8), id="an-end-lost"),
        pytest.param(lambda whole: b"x" + whole[1:], id="not-ours"),
        pytest.param(lambda whole: whole[:8] + bytes([whole[8] ^ 1]) + whole[9:], id="another-number-of-texts"),
    ],
)
def test_a_damaged_file_is_made_again(damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    examples, cache = examples_of(TEXTS, tmp_path / "texts"), TokenCache(tmp_path / "tokens")
    cache.encode(examples, tokenizer_of(), max_length=8)
    [entry] = entries(tmp_path / "tokens")
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))

    with caplog.at_level(logging.WARNING):
        found = cache.encode(examples, tokenizer_of(), max_length=8)

    assert "is damaged: its texts are encoded again" in caplog.text
    assert ids_of(found) == served(TEXTS, tokenizer_of(), 8)
    assert entry.read_bytes() == whole


WRITE = """
import sys
from pathlib import Path
import numpy as np
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer
from model.manifest import Task
from trainer.architectures.transformer.cache import TokenCache
from trainer.data.examples import Examples

texts, tokens, tokenizer, count = sys.argv[1:]
targets = csr_matrix(np.ones((int(count), 1), np.uint8))
examples = Examples(Path(texts), np.arange(int(count)), ("a",), targets, Task.MULTI_LABEL)
sys.stdin.readline()
found = TokenCache(Path(tokens)).encode(examples, Tokenizer.from_file(tokenizer), max_length=8)
print(len(found), found.ids.sum(dtype=np.int64))
"""


def test_two_processes_write_the_same_entry_at_once(tmp_path: Path) -> None:
    texts = [f"{WORDS[at % 5]} {' of' * (at % 6)}" for at in range(20_000)]
    examples = examples_of(texts, tmp_path / "texts")
    tokenizer_of().save(str(tmp_path / "tokenizer.json"))
    command = [sys.executable, "-c", WRITE, examples.file, tmp_path / "tokens", tmp_path / "tokenizer.json", str(len(texts))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [subprocess.Popen(command, **pipes, text=True) for _ in range(2)]  # type: ignore[call-overload]
    for each in writers:
        each.stdin.write("now\n")
        each.stdin.flush()
    said = [each.communicate(timeout=120) for each in writers]

    total = sum(map(sum, served(texts, tokenizer_of(), 8)))
    assert [out.split() for out, _ in said] == [[str(len(texts)), str(total)]] * 2
    assert [err for _, err in said] == ["", ""]
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [path.name for path in entries(tmp_path / "tokens")]
    assert len(entries(tmp_path / "tokens")) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    three = [examples_of([text] * 100, tmp_path / "texts") for text in WORDS[:3]]
    sizes = TokenCache(tmp_path / "measured")
    sizes.encode(three[0], tokenizer_of(), max_length=8)
    cache = TokenCache(tmp_path / "tokens", most_bytes=2 * entries(tmp_path / "measured")[0].stat().st_size)
    for each in three[:2]:
        cache.encode(each, tokenizer_of(), max_length=8)
    for age, path in enumerate(entries(tmp_path / "tokens"), start=1):
        os.utime(path, (time.time() - 100 * age, time.time() - 100 * age))
    first = cache.encode(three[0], tokenizer_of(), max_length=8)  # used again, so the second is the oldest now
    cache.encode(three[2], tokenizer_of(), max_length=8)

    kept = {path.stem for path in entries(tmp_path / "tokens")}
    assert kept == {key(each, dataset.truncating(tokenizer_of(), 8), max_length=8) for each in (three[0], three[2])}
    assert ids_of(first) == served([WORDS[0]] * 100, tokenizer_of(), 8)


def test_an_entry_that_is_larger_than_the_bound_is_kept_until_the_next(tmp_path: Path) -> None:
    cache = TokenCache(tmp_path / "tokens", most_bytes=1)
    for text in WORDS[:2]:
        found = cache.encode(examples_of([text], tmp_path / "texts"), tokenizer_of(), max_length=8)

        assert ids_of(found) == served([text], tokenizer_of(), 8)
        assert len(entries(tmp_path / "tokens")) == 1


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    old, young = tokens / f"{PART_PREFIX}old", tokens / f"{PART_PREFIX}young"
    for part in (old, young):
        part.write_bytes(b"half")
    os.utime(old, (0, time.time() - PART_SECONDS - 60))

    TokenCache(tokens).encode(examples_of(TEXTS, tmp_path / "texts"), tokenizer_of(), max_length=8)

    assert not old.exists()
    assert young.exists()


def test_without_a_place_to_write_texts_are_encoded_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tokens").write_text("a file where a folder should be")

    with caplog.at_level(logging.WARNING):
        found = TokenCache(tmp_path / "tokens").encode(examples_of(TEXTS, tmp_path), tokenizer_of(), max_length=8)

    assert ids_of(found) == served(TEXTS, tokenizer_of(), 8)
    assert "encoded texts cannot be cached in" in caplog.text


FULL = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
"""


def test_a_full_disk_costs_the_entry_and_not_the_run(tmp_path: Path) -> None:
    texts = ["purr of the bark"] * 5_000
    examples = examples_of(texts, tmp_path / "texts")
    tokenizer_of().save(str(tmp_path / "tokenizer.json"))
    command = [
        sys.executable,
        "-c",
        FULL + WRITE,
        examples.file,
        tmp_path / "tokens",
        tmp_path / "tokenizer.json",
        str(len(texts)),
    ]
    done = subprocess.run(command, input="now\n", capture_output=True, text=True, timeout=120, check=True)

    assert done.stdout.split() == [str(len(texts)), str(sum(map(sum, served(texts, tokenizer_of(), 8))))]
    assert "encoded texts cannot be cached in" in done.stderr
    assert list((tmp_path / "tokens").iterdir()) == []
