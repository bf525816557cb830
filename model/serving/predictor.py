"""Predictor: the served version as a model of the KServe SDK, and the SDK's data plane for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from typing import Any, TypeVar

from kserve import InferRequest, InferResponse, Model, ModelRepository
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol import dataplane

from model.classifier import Floats, Prediction, PredictionRule
from model.manifest import Manifest
from model.serving.batching import Batcher
from model.serving.codec import check_v1_body, decode_v1
from model.serving.errors import RequestTimedOut, VersionNotFound, short_json
from model.serving.requests import (
    INPUT_NAME,
    LABELS,
    PROBABILITIES,
    SCORES,
    InferenceRequest,
    InferenceResult,
    Limits,
    infer_response,
    read_infer_request,
    v1_response,
)

T = TypeVar("T")
INVALID_CLOUD_EVENT = "the ce- headers and the body are no CloudEvent: expected version 1.0, with JSON as its data"


class Predictor(Model):  # type: ignore[misc]
    """Loaded version, served under one name. It is ready from the start, since loading includes the first inference."""

    def __init__(self, name: str, manifest: Manifest, rule: PredictionRule, batcher: Batcher, limits: Limits) -> None:
        super().__init__(name)
        self.manifest = manifest
        self.ready = True
        self.unanswered = 0  # requests in flight
        self._rule = rule
        self._batcher = batcher
        self.limits = limits

    def load(self) -> bool:
        """Return whether it is ready. The SDK calls this for a model that is not ready: one whose server is stopping."""
        return bool(self.ready)

    async def infer(self, request: InferenceRequest, encode: Callable[[InferenceResult], T]) -> T:
        """Classify the texts and return the encoded result. `encode` is called in a thread of the batcher.

        Raises InvalidInput, TextsTooLarge, QueueFull, RequestTimedOut.
        """
        self.limits.check(request.texts)

        def finish(predictions: Sequence[Prediction], probabilities: Floats) -> T:
            if request.selection is not None:
                predictions = self._rule.predictions(probabilities, request.selection)
            return encode(InferenceResult(predictions, probabilities))

        self.unanswered += 1
        try:
            if request.timeout_seconds is None:
                return await self._batcher.classify(request.texts, finish)
            async with asyncio.timeout(request.timeout_seconds):
                return await self._batcher.classify(request.texts, finish)
        except TimeoutError as error:
            raise RequestTimedOut(request.timeout_seconds or 0.0) from error
        finally:
            self.unanswered -= 1

    async def predict(self, payload: object, headers: object = None) -> InferResponse | dict[str, Any]:  # noqa: ARG002
        """Answer an InferRequest (gRPC) or a v1 body (anything else), called by the SDK. Raises as `infer` does."""
        if not isinstance(payload, InferRequest):
            return await self.infer(decode_v1(payload), v1_response)
        request = read_infer_request(payload, self.limits)

        def encode(result: InferenceResult) -> InferResponse:
            return infer_response(payload, result, request=request, version=self.manifest.version, labels=self.manifest.labels)

        return await self.infer(request, encode)

    def get_input_types(self) -> list[dict[str, Any]]:
        return [_tensor(INPUT_NAME, "BYTES", [-1])]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [
            _tensor(LABELS, "BYTES", [-1, -1]),
            _tensor(SCORES, "FP32", [-1, -1]),
            _tensor(PROBABILITIES, "FP32", [-1, len(self.manifest.labels)]),
        ]


class DataPlane(dataplane.DataPlane):  # type: ignore[misc]
    """The SDK's data plane for one predictor, with versions and with readiness while the server stops."""

    def __init__(self, predictor: Predictor) -> None:
        models = ModelRepository()
        models.update(predictor)
        super().__init__(models)
        self.limits = predictor.limits
        self._predictor = predictor

    def find(self, name: str, version: str | None) -> Predictor:
        """Return the predictor. Raises ModelNotFound if its name, or its version, is another. version: None for any."""
        if name != self._predictor.name:
            raise ModelNotFound(short_json(name))
        served = self._predictor.manifest.version
        if version and version != served:
            raise VersionNotFound(name, version, served)
        return self._predictor

    def decode(self, body: object, headers: object, **others: Any) -> Any:
        """Return a v1 body as the SDK parses it. Raises InvalidInput, also for bodies that would take the SDK long."""
        if isinstance(body, bytes):
            check_v1_body(body, self.limits)
        try:
            return super().decode(body, headers, **others)
        except Exception as error:  # the SDK raises many kinds of errors for an invalid CloudEvent
            decode_v1(body)
            raise InvalidInput(INVALID_CLOUD_EVENT) from error

    def metadata(self) -> dict[str, Any]:
        return {"name": "labelwright", "version": version_of("labelwright"), "extensions": ["binary_tensor_data"]}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Return name, versions and tensors; in `parameters`, labels in order, their thresholds, task and maximum length."""
        manifest = self.find(model_name, None).manifest
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        parameters: dict[str, Any] = {
            "labels": list(manifest.labels),
            "thresholds": list(manifest.thresholds),
            "task": manifest.task.value,
            "max_length": manifest.max_length,
        }
        if not manifest.label_required:
            parameters["label_required"] = False
        return metadata | {"versions": [manifest.version], "platform": "onnxruntime", "parameters": parameters}

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Return whether to send requests here. The SDK sets the flag for requests that were already accepted."""
        return disable_predictor_health_check or bool(self.find(model_name, None).ready)

    async def ready(self) -> bool:
        return bool(self._predictor.ready)


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
