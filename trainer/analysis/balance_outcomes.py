"""Outcome of each balancing strategy, without training."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from trainer.balance.imbalance import Imbalance, measure
from trainer.balance.strategies import balance
from trainer.config.settings import BalanceConfig
from trainer.data.examples import Examples

log = logging.getLogger(__name__)

STRATEGIES = ("undersample", "undersample-any", "mltl", "oversample")
# Maximum number of texts for balancing strategies that compare texts with each other.
MOST_TEXTS = {"mltl": 20_000}


@dataclass(frozen=True)
class Outcome:
    """Imbalance before and after a balancing strategy.

    strategy: value of balance.sampling. sampled: whether it was tried on a random sample. notes: the strategy's effect.
    """

    strategy: str
    before: Imbalance
    after: Imbalance
    sampled: bool
    notes: tuple[str, ...]


def outcomes(examples: Examples, config: BalanceConfig, *, seed: int) -> tuple[Outcome, ...]:
    """Return the outcome of every balancing strategy, with the other settings of `config`.

    The same seed gives the same outcomes.
    """
    results = []
    for strategy in STRATEGIES:
        log.info("trying balance.sampling: %s", strategy)
        some = _sample(examples, MOST_TEXTS.get(strategy, len(examples)), seed=seed)
        left = balance(some, config.model_copy(update={"sampling": strategy}), seed=seed)
        before, after = measure(some.targets), measure(left.examples.targets)
        results.append(Outcome(strategy, before, after, sampled=len(some) < len(examples), notes=left.notes))
    return tuple(results)


def _sample(examples: Examples, most: int, *, seed: int) -> Examples:
    if len(examples) <= most:
        return examples
    return examples.select(np.sort(np.random.default_rng(seed).choice(len(examples), most, replace=False)))
