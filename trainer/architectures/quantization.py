"""Weights of eight bits, where that costs next to nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from model.artifact import GRAPH
from model.classifier import ONE_TEXT_A_CALL, Encoder, Graph
from model.manifest import Precision
from trainer.architectures.validation import micro_f1_of
from trainer.examples import Examples

log = logging.getLogger(__name__)
TOLERANCE = 0.005  # micro-F1 on validation that int8 may cost
QUANTIZED = "model.int8.onnx"


def quantize_if_harmless(folder: Path, encoder: Encoder, validation: Examples, *, threads: int) -> Precision:
    """Replace `model.onnx` by its int8 version unless that costs more than 0.005 micro-F1 on validation."""
    quantize(folder / GRAPH, folder / QUANTIZED)
    full = micro_f1_of(Graph(folder / GRAPH, threads=threads), encoder, validation)
    cheap = micro_f1_of(Graph(folder / QUANTIZED, threads=threads), encoder, validation)
    keep = cheap >= full - TOLERANCE
    log.info("validation micro-F1: fp32 %.4f, int8 %.4f; %s is kept", full, cheap, "int8" if keep else "fp32")
    if not keep:
        (folder / QUANTIZED).unlink()
        return Precision.FP32
    (folder / QUANTIZED).replace(folder / GRAPH)
    return Precision.INT8


def quantize(graph: Path, to: Path) -> None:
    """The graph with its matrix products in int8: weights by column beforehand, activations by tensor at run time."""
    with _silence():
        quantize_dynamic(graph, to, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    quantized = onnx.load(to)
    onnx.helper.set_model_props(quantized, {ONE_TEXT_A_CALL: "true"})
    onnx.save(quantized, to)


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what onnxruntime tells the root logger, as if it were the program, about every node of the graph."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
