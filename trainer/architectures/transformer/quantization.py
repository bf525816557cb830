"""Dynamic quantization to int8, if it costs almost no score."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from model.artifact import GRAPH
from model.classifier import ONE_TEXT_PER_CALL, OnnxModel, TextTokenizer
from model.manifest import Precision
from trainer.architectures.transformer.validation import micro_f1_of
from trainer.data.examples import Examples

log = logging.getLogger(__name__)
TOLERANCE = 0.005  # micro-F1 on validation that int8 may cost
QUANTIZED = "model.int8.onnx"


def quantize_if_harmless(folder: Path, tokenizer: TextTokenizer, validation: Examples, *, threads: int) -> Precision:
    """Replace `model.onnx` by its int8 version unless that costs more than 0.005 micro-F1 on validation."""
    quantize(folder / GRAPH, folder / QUANTIZED)
    full = micro_f1_of(OnnxModel(folder / GRAPH, threads=threads), tokenizer, validation)
    cheap = micro_f1_of(OnnxModel(folder / QUANTIZED, threads=threads), tokenizer, validation)
    keep = cheap >= full - TOLERANCE
    log.info("validation micro-F1: fp32 %.4f, int8 %.4f; %s is kept", full, cheap, "int8" if keep else "fp32")
    if not keep:
        (folder / QUANTIZED).unlink()
        return Precision.FP32
    (folder / QUANTIZED).replace(folder / GRAPH)
    return Precision.INT8


def quantize(graph: Path, to: Path) -> None:
    """Write the graph with int8 matrix products: weights scaled per column now, activations per tensor at run time.

    Embeddings, then most of the file, are stored in float16.
    """
    with _silence():
        quantize_dynamic(graph, to, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    quantized = onnx.load(to)
    _halve_embeddings(quantized.graph)
    onnx.helper.set_model_props(quantized, {ONE_TEXT_PER_CALL: "true"})
    onnx.save(quantized, to)


def _halve_embeddings(graph: onnx.GraphProto) -> None:
    """Store the float32 tables that only a Gather reads in float16, and cast the gathered rows back."""
    tables = {each.name: each for each in graph.initializer if each.data_type == TensorProto.FLOAT and len(each.dims) == 2}
    users = Counter(name for node in graph.node for name in node.input)
    nodes = []
    for node in graph.node:
        nodes.append(node)
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and users[table.name] == 1:
            output, half = node.output[0], f"{node.output[0]}_half"
            table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table).astype(np.float16), table.name))
            node.output[0] = half
            nodes.append(helper.make_node("Cast", [half], [output], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)


@contextmanager
def _silence() -> Iterator[None]:
    """Drop the lines that onnxruntime writes to the root logger for each node of the graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
