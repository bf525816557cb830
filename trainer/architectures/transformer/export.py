"""Export a fine-tuned network to `model.onnx`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from optimum.exporters.onnx import export
from optimum.exporters.onnx.base import OnnxConfig
from optimum.exporters.onnx.config import TextEncoderOnnxConfig
from optimum.exporters.tasks import TasksManager
from optimum.utils import NormalizedTextConfig

from model.artifact import GRAPH
from model.classifier import Floats, TextTokenizer
from trainer.architectures.transformer.network import PooledClassifier

AXES = {0: "texts", 1: "tokens"}


def export_graph(network: PooledClassifier, folder: Path, *, max_length: int) -> None:
    """Write `model.onnx`: `input_ids` and `attention_mask` (int64 [texts, tokens]) to `logits` (float32 [texts, labels])."""
    network = network.cpu().float().eval()
    with warnings.catch_warnings():
        # The tracer warns of code that may depend on the example input; the parity check shows whether it does.
        warnings.simplefilter("ignore")
        traced = {"batch_size": 2, "sequence_length": min(16, max_length)}
        export(network, _export_config(network), folder / GRAPH, input_shapes=traced)


def _export_config(network: PooledClassifier) -> OnnxConfig:
    """Return optimum's configuration for this encoder, without the inputs that the server does not send.

    Encoders with token types then use their default: one text, type 0.
    """
    try:
        known = TasksManager.get_exporter_config_constructor(
            "onnx", model=network.encoder, task="text-classification", library_name="transformers"
        ).func
    except (KeyError, ValueError):  # unknown to optimum; most encoders need no special treatment
        known = type("Generic", (TextEncoderOnnxConfig,), {"NORMALIZED_CONFIG_CLASS": NormalizedTextConfig})
    inputs = {"input_ids": AXES, "attention_mask": AXES}
    two_inputs = type("TwoInputs", (known,), {"inputs": property(lambda _: inputs)})
    return two_inputs(network.config, task="text-classification")


def logits_of(network: PooledClassifier, tokenizer: TextTokenizer, texts: Sequence[str]) -> Floats:
    """Return the network's logits [texts, labels], computed per text, so that a comparison shows the effect of padding."""
    with torch.no_grad():
        rows = [torch.tensor([each.ids]) for each in tokenizer.encode(texts)]
        return np.concatenate([network(each, torch.ones_like(each)).logits.numpy() for each in rows])
