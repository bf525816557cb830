"""A model on KServe's own server that computes with torch inside `predict`, as KServe's Hugging Face runtime does.

    python benchmarks/peers/kserve_torch.py FOLDER NAME PORT

FOLDER is one of the transformers library, a classifier of several labels a text.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class TorchClassifier(Model):  # type: ignore[misc]
    """One network; requests are computed on the event loop, one after the other."""

    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self._folder = folder
        self._tokenizer: Any = None
        self._network: Any = None

    def load(self) -> bool:
        self._tokenizer = AutoTokenizer.from_pretrained(self._folder)  # type: ignore[no-untyped-call]
        self._network = AutoModelForSequenceClassification.from_pretrained(self._folder).eval()
        self.ready = True
        return True

    async def predict(self, payload: InferRequest, headers: object = None) -> InferResponse:  # noqa: ARG002
        """A probability for each label of each text."""
        texts = list(payload.inputs[0].data)  # strings, as JSON holds them
        batch = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            probabilities = self._network(**batch).logits.sigmoid()
        output = InferOutput("probabilities", list(probabilities.shape), "FP32", data=probabilities.flatten().tolist())
        return InferResponse(payload.id or generate_uuid(), self.name, [output])


def main() -> None:
    """Load and serve."""
    folder, name, port = sys.argv[1:]
    model = TorchClassifier(name, folder)
    model.load()
    ModelServer(http_port=int(port), workers=1, enable_grpc=False, access_log_format=None).start([model])


if __name__ == "__main__":
    main()
