"""The version that is served, as the KServe SDK sees it, and the SDK's data plane with what it leaves out.

Texts are classified in a small pool of threads, so that the event loop stays free to say that it is well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as version_of
from typing import Any

from kserve import InferRequest, InferResponse, Model, ModelRepository
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane

from model.classifier import Classifier, to_probabilities
from model.manifest import Manifest
from model.serving.bodies import instances_of
from model.serving.metrics import Metrics
from model.serving.protocol import (
    INPUT,
    LABELS,
    PROBABILITIES,
    SCORES,
    Answer,
    Question,
    predictions_of,
    question_of,
    response_to,
)


class VersionNotFound(ModelNotFound):  # type: ignore[misc]
    """The model is served, but not in that version."""

    def __init__(self, name: str, version: str, served: str) -> None:
        super().__init__(name)
        self.reason = f"Model {name} has no version {version}: version {served} is served."


class Predictor(Model):  # type: ignore[misc]
    """One loaded version under one name; ready from the start, since loading included the first answer."""

    def __init__(self, name: str, classifier: Classifier, manifest: Manifest, *, threads: int, metrics: Metrics) -> None:
        super().__init__(name)
        self.manifest = manifest
        self.ready = True
        self._classifier = classifier
        self._metrics = metrics
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")

    def load(self) -> bool:
        """Nothing: the SDK calls this for a model that is not ready, which here means that it is being stopped."""
        return bool(self.ready)

    async def predict(self, payload: object, headers: object = None) -> InferResponse | dict[str, Any]:  # noqa: ARG002
        """The answer to a v2 request (InferRequest) or a v1 body (anything else). Raises InvalidInput."""
        if not isinstance(payload, InferRequest):
            return predictions_of(await self._answer(instances_of(payload)))
        question = question_of(payload)
        answer = await self._answer(question)
        return response_to(payload, answer, question=question, version=self.manifest.version, labels=self.manifest.labels)

    async def explain(self, payload: object, headers: object = None) -> dict[str, Any]:
        raise NotImplementedError("Explanations are not offered.")

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_tensor(INPUT, "BYTES", [-1])]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [
            _tensor(LABELS, "BYTES", [-1, -1]),
            _tensor(SCORES, "FP32", [-1, -1]),
            _tensor(PROBABILITIES, "FP32", [-1, len(self.manifest.labels)]),
        ]

    async def _answer(self, question: Question) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._classify, question)

    def _classify(self, question: Question) -> Answer:
        classifier, start = self._classifier, time.perf_counter()
        encodings = classifier.encoder.encode(question.texts)
        probabilities = to_probabilities(classifier.graph.logits(encodings), classifier.decision.task)
        self._metrics.computed(encodings, probabilities, time.perf_counter() - start)
        predictions = classifier.decision.predictions(probabilities, top_k=question.top_k, threshold=question.threshold)
        return Answer(predictions, probabilities)


class Plane(DataPlane):  # type: ignore[misc]
    """The SDK's data plane for one predictor; knows its version, and says when the server is not ready."""

    def __init__(self, predictor: Predictor) -> None:
        models = ModelRepository()
        models.update(predictor)
        super().__init__(models)
        self._predictor = predictor

    def find(self, name: str, version: str | None) -> Predictor:
        """The predictor of that name and, if one is asked for, version. Raises ModelNotFound."""
        if name != self._predictor.name:
            raise ModelNotFound(name)
        served = self._predictor.manifest.version
        if version and version != served:
            raise VersionNotFound(name, version, served)
        return self._predictor

    def metadata(self) -> dict[str, Any]:
        return {"name": "labelwright", "version": version_of("labelwright"), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Name, version, tensors; and, in `parameters`, the labels in order and what else a client must know."""
        manifest = self.find(model_name, None).manifest
        found: dict[str, Any] = await super().model_metadata(model_name)
        about = {"labels": list(manifest.labels), "task": manifest.task.value, "max_length": manifest.max_length}
        return found | {"versions": [manifest.version], "platform": "onnxruntime", "parameters": about}

    async def ready(self) -> bool:
        return bool(self._predictor.ready)


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
