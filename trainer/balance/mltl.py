"""MLTL undersampling: drop texts of frequent labels in multi-label Tomek links.

Pereira, Costa and Silla, "MLTL: A multi-label approach for the Tomek Link undersampling algorithm", Neurocomputing 383,
2020, and their program IMB-Mulan; Tomek, "Two modifications of CNN", IEEE Transactions on Systems, Man and Cybernetics 6, 1976.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from model.cores import usable_cores
from trainer.balance.imbalance import concurrence, label_counts, label_ratios, mean_ratio
from trainer.data.examples import Examples
from trainer.features.tfidf import choose, renumber, tf_idf
from trainer.features.vocabulary import encode, train_tokenizer
from trainer.parallel.compiled import compiled
from trainer.run.progress import progress

MOST_FEATURES = 200_000
MOST_WORDS = 512  # of a text that are seen
# Share of the texts. More frequent words and pairs have little meaning, and their cost is the square of their texts.
MOST_TEXTS = 0.1
NO_NEIGHBOUR = -1
# Texts whose scores fit into the processor's cache.
BLOCK = 65_536
QUERIES = 4_096

Rows = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]


def links(examples: Examples) -> NDArray[np.bool_]:
    """Return the texts that MLTL drops [examples].

    A text is dropped if it has no minority label (IRLbl above MeanIR), it and another text are each other's nearest
    neighbour by the cosine of TF-IDF rows, and the adjusted Hamming distance of their labels is above `threshold`.

    The authors' program requires only that the other text is its nearest, and also drops texts with a minority label that
    have a frequent one too. On arXiv this drops 72 % of the texts, and leaves one label with 53 of its 140
    (docs/experiments.md). Here links are mutual, as Tomek's are, and texts with minority labels stay. Time grows with the
    square of the number of texts.
    """
    targets, rows = examples.strata(), comparable(examples)
    counts = label_counts(targets)
    minority = (counts > 0) & (label_ratios(counts) > mean_ratio(counts))
    candidates = np.flatnonzero((targets @ minority.astype(np.int64) == 0) & (targets.getnnz(axis=1) > 0))
    nearest = np.full(len(examples), NO_NEIGHBOUR, np.int64)
    nearest[candidates] = neighbours(rows, candidates)
    candidates = candidates[nearest[candidates] != NO_NEIGHBOUR]
    candidates = candidates[label_distances(targets, candidates, nearest[candidates]) > threshold(targets)]
    partners = np.unique(nearest[candidates])
    unknown = partners[nearest[partners] == NO_NEIGHBOUR]
    nearest[unknown] = neighbours(rows, unknown)
    dropped = np.zeros(len(examples), np.bool_)
    dropped[candidates[nearest[nearest[candidates]] == candidates]] = True
    return dropped


def threshold(targets: csr_matrix) -> float:
    """Return the minimum distance of the labels in a link: the authors' rule, by MeanIR and SCUMBLE."""
    if concurrence(targets) > 0.3:
        return 0.5
    indicator = 1 / np.sqrt(max(1.0, mean_ratio(label_counts(targets))))
    return 0.5 if indicator > 0.5 else 0.3 if indicator > 0.3 else 0.15


def label_distances(targets: csr_matrix, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the adjusted Hamming distance of the labels of each pair [pairs].

    It is the share of labels that only one text has, among those that either has: 0 for equal labels, 1 for none in common,
    nan for no labels.
    """
    one, other = targets[ones].astype(np.int64), targets[others].astype(np.int64)
    common = np.asarray(one.multiply(other).sum(axis=1)).ravel()
    either = one.getnnz(axis=1) + other.getnnz(axis=1) - common
    with np.errstate(invalid="ignore"):
        return np.asarray((either - common) / either, np.float64)


def comparable(examples: Examples) -> csr_matrix:
    """Return TF-IDF rows of words and pairs of words, without those of many texts. Rows have length 1 unless empty."""
    tokenizer = train_tokenizer(examples, minimum=2, max_length=MOST_WORDS)
    count = tokenizer.get_vocab_size()
    tokens = encode(tokenizer, examples, max_length=MOST_WORDS)
    kept, features = choose(tokens, word_count=count, minimum_texts=2, maximum=MOST_FEATURES)
    rows = tf_idf(renumber(tokens, kept, word_count=count), features)
    texts = np.bincount(rows.indices, minlength=rows.shape[1])
    telling = (texts >= 2) & (texts <= max(2, MOST_TEXTS * len(examples)))
    rows = csr_matrix(rows[:, np.flatnonzero(telling)], dtype=np.float32)
    lengths = np.sqrt(np.maximum(rows.multiply(rows).sum(axis=1), np.finfo(np.float32).tiny))
    return csr_matrix(rows.multiply(1 / lengths), dtype=np.float32)


def neighbours(rows: csr_matrix, queries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each query the other row with the largest product [queries]; NO_NEIGHBOUR if none is above 0.

    Of equal rows, the first. Compares every query with every row, one block of rows at a time, with all processors.
    """
    nearest = np.full(len(queries), NO_NEIGHBOUR, np.int64)
    best = np.zeros(len(queries), np.float32)
    begins, edges = range(0, rows.shape[0], BLOCK), range(0, len(queries), QUERIES)
    own: Rows = (rows.indptr.astype(np.int32), rows.indices, rows.data)
    with progress(len(begins) * len(edges), "searching for neighbours") as advance, ThreadPoolExecutor(usable_cores()) as threads:
        for begin in begins:
            block = rows[begin : begin + BLOCK].tocsc()
            columns: Rows = (block.indptr.astype(np.int32), block.indices, block.data)
            compare = partial(_compare, own, columns, begin, block.shape[0], queries, best, nearest)
            for _ in threads.map(compare, edges):
                advance()
    return nearest


def _compare(
    own: Rows,
    columns: Rows,
    begin: int,
    size: int,
    queries: NDArray[np.int64],
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
    edge: int,
) -> None:
    """Update `best` and `nearest` of QUERIES queries from `edge` on with this block of rows, given by columns."""
    part = slice(edge, edge + QUERIES)
    _search(queries[part], own, columns, begin, np.zeros(size, np.float32), best[part], nearest[part])


@compiled
def _search(
    queries: NDArray[np.int64],
    rows: Rows,
    columns: Rows,
    begin: int,
    scores: NDArray[np.float32],
    best: NDArray[np.float32],
    nearest: NDArray[np.int64],
) -> None:
    """Update `best` and `nearest` as `_compare` does. scores: zeros, before and afterwards [rows of the block]."""
    for at in range(len(queries)):
        query = queries[at]
        for place in range(rows[0][query], rows[0][query + 1]):
            feature, value = rows[1][place], rows[2][place]
            for entry in range(columns[0][feature], columns[0][feature + 1]):
                scores[columns[1][entry]] += value * columns[2][entry]
        if begin <= query < begin + len(scores):
            scores[query - begin] = 0
        for row in range(len(scores)):
            if scores[row] > best[at]:
                best[at] = scores[row]
                nearest[at] = begin + row
            scores[row] = 0
