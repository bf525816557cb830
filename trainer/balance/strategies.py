"""Balance the training part with the configured balancing strategy, which the setting balance.sampling names.

Each strategy is a module of this package: undersampling, oversampling, mltl. For losses that weight rare labels, see
`trainer.architectures.transformer.losses`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.balance.imbalance import Imbalance, label_counts, measure
from trainer.balance.undersampling import any_label, joint, median_count, refill
from trainer.config.settings import BalanceConfig
from trainer.data.examples import Examples


@dataclass(frozen=True, eq=False)
class Balanced:
    """The balanced part. notes: the effect, in sentences. description: balancing strategy and loss, for the manifest."""

    examples: Examples
    notes: tuple[str, ...]
    description: str


def balance(examples: Examples, config: BalanceConfig, *, seed: int) -> Balanced:
    """Balance the examples. They stay in order, repeated ones next to each other. The same seed gives the same examples."""
    threshold = config.threshold or median_count(examples.targets)
    description = describe(config, threshold=threshold)
    if config.sampling == "none":
        return Balanced(examples, (), description)
    balanced = examples.select(positions(examples, config, seed=seed))
    change = in_words(measure(examples.targets), measure(balanced.targets))
    return Balanced(balanced, (f"balance, {description}: {change}",), description)


def positions(examples: Examples, config: BalanceConfig, *, seed: int) -> NDArray[np.int64]:
    """Return the positions of the balanced part's examples, ascending; with oversampling, some occur several times.

    Every label that has examples keeps at least one. If no label is required, examples without a label count as examples of
    an extra label.
    """
    targets = examples.strata()
    threshold = config.threshold or median_count(examples.targets)
    if config.sampling == "undersample":
        return np.flatnonzero(joint(targets, threshold=threshold, seed=seed))
    if config.sampling == "undersample-any":
        return np.flatnonzero(any_label(targets, threshold=threshold, seed=seed))
    if config.sampling == "oversample":
        from trainer.balance.oversampling import ml_ros  # numba takes a while to import

        return np.repeat(np.arange(len(examples)), ml_ros(targets, share=config.oversample_share, seed=seed))
    if config.sampling == "mltl":
        from trainer.balance.mltl import links

        least = np.minimum(label_counts(targets), 1)
        return np.flatnonzero(refill(~links(examples), targets, least=least, random=np.random.default_rng(seed)))
    return np.arange(len(examples))


def describe(config: BalanceConfig, *, threshold: int) -> str:
    """Return a short description of the balancing strategy and the loss, such as "undersample to 1568, weighted loss", or "none".

    threshold: target of undersampling, `config.threshold` or the median.
    """
    strategy = {
        "undersample": f"undersample to {threshold}",
        "undersample-any": f"undersample-any to {threshold}",
        "mltl": "mltl",
        "oversample": f"oversample by {config.oversample_share:g} at most",
    }
    loss = {"weighted": "weighted loss", "focal": f"focal loss of gamma {config.focal_gamma:g}"}
    return ", ".join(each for each in (strategy.get(config.sampling), loss.get(config.loss)) if each) or "none"


def in_words(before: Imbalance, after: Imbalance) -> str:
    """Return the change of the number of texts and of the imbalance, in one line."""
    texts = f"{after.texts:,} texts of {before.texts:,}"
    if before.without_label:
        texts += f"; without a label {before.without_label:,}, now {after.without_label:,}"
    largest = f"largest label {before.largest:,}, now {after.largest:,}"
    ratios = f"IRLbl at most {before.worst_ratio:.2f}, now {after.worst_ratio:.2f}"
    return f"{texts}; {largest}; {ratios}; MeanIR {before.mean_ratio:.2f}, now {after.mean_ratio:.2f}"
