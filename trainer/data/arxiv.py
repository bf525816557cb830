"""Preset for the arXiv snapshot: the separator of its categories, and the categories that arXiv has renamed."""

from __future__ import annotations

from trainer.config.settings import ARXIV, DatasetConfig

# The snapshot keeps this name where it is mirrored.
SNAPSHOT = "arxiv-metadata-oai-snapshot"

# From arXiv's category taxonomy: archives that were merged into others, and aliases of categories.
RENAMED = {
    "acc-phys": "physics.acc-ph",
    "adap-org": "nlin.AO",
    "alg-geom": "math.AG",
    "ao-sci": "physics.ao-ph",
    "atom-ph": "physics.atom-ph",
    "bayes-an": "physics.data-an",
    "chao-dyn": "nlin.CD",
    "chem-ph": "physics.chem-ph",
    "cmp-lg": "cs.CL",
    "comp-gas": "nlin.CG",
    "dg-ga": "math.DG",
    "funct-an": "math.FA",
    "mtrl-th": "cond-mat.mtrl-sci",
    "patt-sol": "nlin.PS",
    "plasm-ph": "physics.plasm-ph",
    "q-alg": "math.QA",
    "solv-int": "nlin.SI",
    "supr-con": "cond-mat.supr-con",
    "cs.NA": "math.NA",
    "cs.SY": "eess.SY",
    "math.IT": "cs.IT",
    "math.MP": "math-ph",
    "q-fin.EC": "econ.GN",
    "stat.TH": "math.ST",
}


def with_preset(config: DatasetConfig, uri: str) -> DatasetConfig:
    """Return the configuration with arXiv's separator and renamed categories if `uri` is its snapshot.

    The configuration's own settings take precedence.
    """
    if not uri.lower().startswith(ARXIV.lower()) and SNAPSHOT not in uri:
        return config
    separator = " " if config.label_separator == "auto" else config.label_separator
    return config.model_copy(update={"label_separator": separator, "aliases": {**RENAMED, **config.aliases}})
