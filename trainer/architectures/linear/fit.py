"""The linear architecture: TF-IDF of words and pairs of words, and a linear model for each label, in one ONNX graph."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from scipy.sparse import csr_matrix
from tokenizers import Tokenizer

from model.artifact import GRAPH, TOKENIZER
from model.manifest import ArchitectureName, Precision
from trainer.architectures.base import Exported
from trainer.architectures.linear import svm
from trainer.architectures.linear.calibration import calibrate
from trainer.architectures.linear.onnx_graph import quantise, to_onnx
from trainer.architectures.parity import Tolerance, check_parity
from trainer.balance.imbalance import rarity
from trainer.config.settings import Config, LinearConfig
from trainer.data.examples import Examples
from trainer.features.tfidf import FIRST_WORD, Features, choose, renumber, tf_idf
from trainer.features.vocabulary import encode, encode_texts, train_tokenizer, word_tokenizer, words_of
from trainer.run.cost import Cost

log = logging.getLogger(__name__)
# Features times labels. A weight takes four bytes during fitting and one in the graph, whose file must stay below 2 GiB.
# With more than 600 labels there are fewer features than `max_features` for that reason.
MAX_WEIGHTS = 250_000_000
PARITY_TEXTS = 200  # of the validation part
TOLERANCE = Tolerance(absolute=1e-4, relative=1e-4)


def fit(train: Examples, validation: Examples, config: Config, *, folder: Path) -> Exported:
    """Fit on `train`, calibrate on `validation`, and write graph and tokenizer into `folder`.

    With `config.balance.loss` "weighted", errors on texts of rare labels cost more. "focal" has no effect: the squared
    hinge loss is 0 for decisions that are correct by a margin. The same examples, settings and machine give the same
    bytes for any number of threads. Raises ExportFailed.
    """
    cost = Cost()
    settings = config.linear
    tokenizer, features, rows = _choose_features(train, settings)
    fitted = svm.fit(
        rows,
        train.targets,
        C=settings.penalty,
        max_iter=settings.passes,
        seed=config.training.seed,
        positive_weights=rarity(train.targets) if config.balance.loss == "weighted" else None,
    )
    held_out = tf_idf(encode(tokenizer, validation, max_length=settings.max_length), features)
    calibration = calibrate(fitted.margins(held_out), validation.targets, validation.task)
    log.info("calibrated on %d texts", len(validation))
    scorer = quantise(fitted.weights, calibration.slope, calibration.slope * fitted.bias + calibration.offset)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / TOKENIZER), pretty=False)
    onnx.save(to_onnx(features, scorer), str(folder / GRAPH))
    texts = ["", *validation.select(np.arange(min(PARITY_TEXTS, len(validation)))).texts()]
    expected = scorer.logits(tf_idf(encode_texts(tokenizer, texts, max_length=settings.max_length), features))
    parity = check_parity(folder, texts, expected, max_length=settings.max_length, tolerance=TOLERANCE)
    seconds = cost.seconds
    log.info("fitted and exported in %.1f s", seconds)
    return Exported(
        folder=folder,
        architecture=ArchitectureName.LINEAR,
        precision=Precision.INT8,
        max_length=settings.max_length,
        base_model=None,
        epochs=settings.passes,
        parity=parity,
        seconds=seconds,
        cpu_seconds=cost.cpu_seconds,
        peak_memory_bytes=cost.peak_memory_bytes,
    )


def _choose_features(train: Examples, settings: LinearConfig) -> tuple[Tokenizer, Features, csr_matrix]:
    """Return a tokenizer of the words that are features, the features, and the training part's TF-IDF."""
    wide = train_tokenizer(train, minimum=settings.minimum_texts, max_length=settings.max_length)
    every_word = words_of(wide)
    count = wide.get_vocab_size()
    tokens = encode(wide, train, max_length=settings.max_length)
    log.info("tokenized %d texts: %d words, %d different", len(train), len(tokens.ids), len(every_word))
    maximum = min(settings.max_features, MAX_WEIGHTS // len(train.labels))
    kept, features = choose(tokens, word_count=count, minimum_texts=settings.minimum_texts, maximum=maximum)
    log.info("chose %d words and %d pairs as features", len(kept), len(features.pairs))
    tokenizer = word_tokenizer([every_word[each] for each in kept - FIRST_WORD])
    return tokenizer, features, tf_idf(renumber(tokens, kept, word_count=count), features)
