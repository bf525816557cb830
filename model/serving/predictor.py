"""The version that is served, as the KServe SDK sees it, and the SDK's data plane with what it leaves out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from typing import Any, TypeVar

from kserve import InferRequest, InferResponse, Model, ModelRepository
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol.dataplane import DataPlane

from model.classifier import Floats, Prediction, PredictionRule
from model.manifest import Manifest
from model.serving.batching import Batcher
from model.serving.codec import instances_of, require_light
from model.serving.errors import RequestTimedOut, VersionNotFound, shown
from model.serving.requests import (
    INPUT,
    LABELS,
    PROBABILITIES,
    SCORES,
    Answer,
    Limits,
    Question,
    predictions_of,
    question_of,
    response_to,
)

T = TypeVar("T")
NO_EVENT = "the ce- headers and the body are no CloudEvent: expected version 1.0, with JSON as its data"


class Predictor(Model):  # type: ignore[misc]
    """One loaded version under one name; ready from the start, since loading included the first answers."""

    def __init__(self, name: str, manifest: Manifest, rule: PredictionRule, batcher: Batcher, limits: Limits) -> None:
        super().__init__(name)
        self.manifest = manifest
        self.ready = True
        self.unanswered = 0  # requests that wait or are computed
        self._rule = rule
        self._batcher = batcher
        self.limits = limits

    def load(self) -> bool:
        """Nothing: the SDK calls this for a model that is not ready, which here is one that finishes what was asked."""
        return bool(self.ready)

    async def ask(self, question: Question, told: Callable[[Answer], T]) -> T:
        """What `told` makes of the answer, in a thread of the batcher.

        Raises InvalidInput, TextsTooLarge, QueueFull, RequestTimedOut.
        """
        self.limits.check(question.texts)

        def finish(predictions: Sequence[Prediction], probabilities: Floats) -> T:
            if question.top_k is not None or question.threshold is not None:
                predictions = self._rule.predictions(probabilities, top_k=question.top_k, threshold=question.threshold)
            return told(Answer(predictions, probabilities))

        self.unanswered += 1
        try:
            if question.timeout_seconds is None:
                return await self._batcher.compute(question.texts, finish)
            async with asyncio.timeout(question.timeout_seconds):
                return await self._batcher.compute(question.texts, finish)
        except TimeoutError as error:
            raise RequestTimedOut(question.timeout_seconds or 0.0) from error
        finally:
            self.unanswered -= 1

    async def predict(self, payload: object, headers: object = None) -> InferResponse | dict[str, Any]:  # noqa: ARG002
        """The SDK's door: the answer to an InferRequest (gRPC) or a v1 body (anything else). Raises as `ask` does."""
        if not isinstance(payload, InferRequest):
            return await self.ask(instances_of(payload), predictions_of)
        question = question_of(payload, self.limits)

        def told(answer: Answer) -> InferResponse:
            return response_to(payload, answer, question=question, version=self.manifest.version, labels=self.manifest.labels)

        return await self.ask(question, told)

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_tensor(INPUT, "BYTES", [-1])]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [
            _tensor(LABELS, "BYTES", [-1, -1]),
            _tensor(SCORES, "FP32", [-1, -1]),
            _tensor(PROBABILITIES, "FP32", [-1, len(self.manifest.labels)]),
        ]


class Plane(DataPlane):  # type: ignore[misc]
    """The SDK's data plane for one predictor; knows its version, and says when the server is not ready."""

    def __init__(self, predictor: Predictor) -> None:
        models = ModelRepository()
        models.update(predictor)
        super().__init__(models)
        self.limits = predictor.limits
        self._predictor = predictor

    def find(self, name: str, version: str | None) -> Predictor:
        """The predictor of that name and, if one is asked for, version. Raises ModelNotFound."""
        if name != self._predictor.name:
            raise ModelNotFound(shown(name))
        served = self._predictor.manifest.version
        if version and version != served:
            raise VersionNotFound(name, version, served)
        return self._predictor

    def decode(self, body: object, headers: object, **others: Any) -> Any:
        """A v1 body as the SDK reads it; where it cannot, or would take long, the sentence is ours."""
        if isinstance(body, bytes):
            require_light(body, self.limits)
        try:
            return super().decode(body, headers, **others)
        except Exception as error:  # for a CloudEvent that is none it raises much, InvalidInput only sometimes
            instances_of(body)
            raise InvalidInput(NO_EVENT) from error

    def metadata(self) -> dict[str, Any]:
        return {"name": "labelwright", "version": version_of("labelwright"), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Name, version, tensors; and, in `parameters`, the labels in order and what else a client must know."""
        manifest = self.find(model_name, None).manifest
        found: dict[str, Any] = await super().model_metadata(model_name)
        about: dict[str, Any] = {"labels": list(manifest.labels), "task": manifest.task.value, "max_length": manifest.max_length}
        if not manifest.label_required:
            about["label_required"] = False
        return found | {"versions": [manifest.version], "platform": "onnxruntime", "parameters": about}

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Whether to send requests here. The SDK sets the flag for one that has come: what is let in is answered."""
        return disable_predictor_health_check or bool(self.find(model_name, None).ready)

    async def ready(self) -> bool:
        return bool(self._predictor.ready)


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
