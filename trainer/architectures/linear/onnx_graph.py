"""The linear classifier as an ONNX graph: from word ids to logits, including TF-IDF and pairs of words.

No tensor is as wide as the vocabulary. Each position of a text gathers the weights of its word and of the pair that begins
there; a pair that is not a feature gathers row 0, which is zero. A feature that occurs c times in a text has the value
(1 + log c) * idf, of which each occurrence adds an equal share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.sparse import csr_matrix

from model.classifier import MULTICORE
from trainer.architectures.linear.perfect_hash import Dictionary, build
from trainer.features.tfidf import Features

OPSET = 17
IR_VERSION = 9  # readable by onnxruntime from 1.15
MAX_WEIGHT = 127  # of the 8-bit weights
TINY = 1e-12  # squared norm that is used for a text without features, to avoid a division by 0


@dataclass(frozen=True, eq=False)
class Scorer:
    """Quantized linear model, as in the graph: logits = tf_idf @ weights * scale + offset.

    weights: int8 [features, labels]. scale, offset: float32 [labels].
    """

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    def logits(self, features: csr_matrix) -> NDArray[np.float32]:
        """Return logits [texts, labels]."""
        used, places = np.unique(features.indices, return_inverse=True)
        narrow = csr_matrix((features.data, places, features.indptr), shape=(features.shape[0], len(used)))
        logits: NDArray[np.float32] = narrow @ self.weights[used].astype(np.float32) * self.scale + self.offset
        return logits


def quantise(weights: NDArray[np.float32], slope: NDArray[np.float64], bias: NDArray[np.float64]) -> Scorer:
    """Return the scorer for logits `slope * (tf_idf @ weights) + bias`, with 8-bit weights and a scale for each label."""
    unit = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny) / np.float32(MAX_WEIGHT)
    rounded = np.empty(weights.shape, np.int8)
    for start in range(0, len(weights), 1 << 14):
        rounded[start : start + (1 << 14)] = np.rint(weights[start : start + (1 << 14)] / unit)
    return Scorer(rounded, (unit * slope).astype(np.float32), bias.astype(np.float32))


def to_onnx(features: Features, scorer: Scorer) -> onnx.ModelProto:
    """Return the ONNX model: `input_ids`, `attention_mask` int64 [texts, tokens] to `logits` float32 [texts, labels]."""
    dictionary = build(features.pairs, first=features.word_count)
    row_of = np.concatenate((np.arange(features.word_count), dictionary.rows(features.pairs)))
    idf = np.zeros(len(dictionary.keys), np.float32)
    idf[row_of] = features.idf
    weights = np.zeros((len(dictionary.keys), len(scorer.scale)), np.int8)
    weights[row_of] = scorer.weights
    graph = _Graph()
    words = graph.node("Mul", "input_ids", "attention_mask")
    places = graph.node("Concat", words, _pair_rows(graph, words, dictionary, features.word_count), axis=1)
    counts = _counts(graph, places)
    tempered = graph.node("Add", graph.node("Log", counts), graph.floats(1))
    weight = graph.node("Mul", tempered, graph.node("Gather", graph.floats(idf), places))
    share = graph.node("Div", weight, counts)
    sums = _weighted_sum(graph, share, places, weights)
    squares = graph.node("ReduceSum", graph.node("Mul", weight, share), graph.integers([1]), keepdims=1)
    norm = graph.node("Sqrt", graph.node("Max", squares, graph.floats(TINY)))
    scaled = graph.node("Mul", graph.node("Div", sums, norm), graph.floats(scorer.scale))
    graph.node("Add", scaled, graph.floats(scorer.offset), name="logits")
    return graph.model(labels=len(scorer.offset))


class _Graph:
    """Builder of nodes and constants, which are named by their order."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: NDArray[np.generic]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def floats(self, values: float | NDArray[np.float32]) -> str:
        return self.constant(np.asarray(values, np.float32))

    def integers(self, values: int | list[int] | NDArray[np.int64]) -> str:
        return self.constant(np.asarray(values, np.int64))

    def model(self, *, labels: int) -> onnx.ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", labels])]
        graph = helper.make_graph(self._nodes, "linear", inputs, outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="labelwright", ir_version=IR_VERSION, opset_imports=[opset])
        helper.set_model_props(model, {MULTICORE: "false"})
        return model


def _pair_rows(graph: _Graph, words: str, dictionary: Dictionary, word_count: int) -> str:
    """Return the row of the pair that begins at each position [texts, tokens], 0 if it is not a feature.

    Padding and unknown words are not in any pair of the dictionary, so they need no special treatment.
    """
    rest = graph.node("Slice", words, graph.integers([1]), graph.integers([np.iinfo(np.int64).max]), graph.integers([1]))
    following = graph.node("Pad", rest, graph.integers([0, 0, 0, 1]))
    key = graph.node("Add", graph.node("Mul", words, graph.integers(word_count)), following)
    bucket = graph.node("Mod", key, graph.integers(len(dictionary.displacements)))
    displacement = graph.node("Gather", graph.integers(dictionary.displacements), bucket)
    moved = graph.node("Add", graph.node("Mod", key, graph.integers(dictionary.modulus)), displacement)
    row = graph.node("Mod", moved, graph.integers(len(dictionary.keys)))
    known = graph.node("Equal", graph.node("Gather", graph.integers(dictionary.keys), row), key)
    return graph.node("Where", known, row, graph.integers(0))


def _counts(graph: _Graph, places: str) -> str:
    """Return how often the feature at each place occurs in its text [texts, 2 * tokens].

    Words are compared with words and pairs with pairs, which takes half the work of comparing all with all.
    """
    kinds = graph.node("Reshape", graph.node("Cast", places, to=TensorProto.INT32), graph.integers([0, 2, -1]))
    down = graph.node("Unsqueeze", kinds, graph.integers([3]))
    across = graph.node("Unsqueeze", kinds, graph.integers([2]))
    equal = graph.node("Cast", graph.node("Equal", down, across), to=TensorProto.FLOAT)
    counted = graph.node("ReduceSum", equal, graph.integers([3]), keepdims=0)
    return graph.node("Reshape", counted, graph.integers([0, -1]))


def _weighted_sum(graph: _Graph, share: str, places: str, weights: NDArray[np.int8]) -> str:
    """Return the sum of the weights' rows, each times its share [texts, labels]."""
    rows = graph.node("Cast", graph.node("Gather", graph.constant(weights), places), to=TensorProto.FLOAT)
    product = graph.node("MatMul", graph.node("Unsqueeze", share, graph.integers([1])), rows)
    return graph.node("Squeeze", product, graph.integers([1]))
