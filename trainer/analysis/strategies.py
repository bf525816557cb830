"""What each way of balancing would leave of the examples, tried on them without training."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from trainer.balance.imbalance import Imbalance, measure
from trainer.balance.strategies import balance
from trainer.config.settings import BalanceConfig
from trainer.data.examples import Examples

log = logging.getLogger(__name__)

SAMPLINGS = ("undersample", "undersample-any", "mltl", "oversample")
# Texts that a strategy is tried on where all of them would take minutes: it compares texts with each other.
MOST_TEXTS = {"mltl": 20_000}


@dataclass(frozen=True)
class Outcome:
    """What a strategy leaves of `before`, which is a random sample of the examples if `sampled`; notes are its own."""

    sampling: str
    before: Imbalance
    after: Imbalance
    sampled: bool
    notes: tuple[str, ...]


def outcomes(examples: Examples, config: BalanceConfig, *, seed: int) -> tuple[Outcome, ...]:
    """Every strategy's outcome, with the settings of `config` but its choice of a strategy. Same seed, same outcomes."""
    found = []
    for sampling in SAMPLINGS:
        log.info("trying balance.sampling: %s", sampling)
        some = _sample(examples, MOST_TEXTS.get(sampling, len(examples)), seed=seed)
        left = balance(some, config.model_copy(update={"sampling": sampling}), seed=seed)
        before, after = measure(some.targets), measure(left.examples.targets)
        found.append(Outcome(sampling, before, after, sampled=len(some) < len(examples), notes=left.notes))
    return tuple(found)


def _sample(examples: Examples, most: int, *, seed: int) -> Examples:
    if len(examples) <= most:
        return examples
    return examples.select(np.sort(np.random.default_rng(seed).choice(len(examples), most, replace=False)))
