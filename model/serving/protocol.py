"""What is asked and what is answered, whichever protocol carries it; and the SDK's types to these and back.

`InferRequest` and `InferResponse` come with gRPC; REST has `bodies`. Knows no transport and no model. Whatever a client
got wrong is InvalidInput, one sentence that names field, value and expectation.
"""

from __future__ import annotations

import json
import math
import struct
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from numpy.typing import NDArray

from model.classifier import Floats, Prediction

INPUT = "text"
LABELS, SCORES, PROBABILITIES = "labels", "scores", "probabilities"
OUTPUTS = (LABELS, SCORES, PROBABILITIES)
PARAMETERS = ("top_k", "threshold", "binary_data_output")
SHOWN = 40  # characters of a wrong value that its client is shown


@dataclass(frozen=True)
class Limits:
    """What one request may ask: texts, and characters in each."""

    texts: int
    characters: int

    def check(self, texts: Sequence[str]) -> None:
        """Raise InvalidInput where there are too many texts, or too long ones."""
        if len(texts) > self.texts:
            raise InvalidInput(f"the request has {len(texts)} texts: expected at most {self.texts}")
        for at, text in enumerate(texts):
            if len(text) > self.characters:
                raise InvalidInput(f"text {at} has {len(text)} characters: expected at most {self.characters}")


@dataclass(frozen=True)
class Question:
    """Texts, and how their labels are chosen (`Decision.predictions` says what None means)."""

    texts: Sequence[str]
    top_k: int | None = None
    threshold: float | None = None
    outputs: Sequence[str] = (LABELS, SCORES)


@dataclass(frozen=True)
class Answer:
    """A prediction and a row of probabilities [texts, labels] for each text."""

    predictions: Sequence[Prediction]
    probabilities: Floats


def short(value: object) -> str:
    """A wrong value as its client wrote it, cut where it is long."""
    try:
        written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=repr)
    except RecursionError:  # it was just not too deep to be read
        return "..."
    return written if len(written) <= SHOWN else f"{written[: SHOWN - 3]}..."


def question_of(request: InferRequest) -> Question:
    """What a v2 request asks. Raises InvalidInput."""
    parameters = _parameters(request)
    top_k, threshold = choices_of(parameters)
    _boolean("parameter binary_data_output", parameters.get("binary_data_output", False))
    require_one([each.name for each in request.inputs])
    outputs = outputs_of([each.name for each in request.request_outputs or ()])
    return Question(_texts(request.inputs[0]), top_k, threshold, outputs)


def require_one(names: Sequence[str]) -> None:
    """Raise InvalidInput unless these are the names of one input, `text`."""
    for name in names:
        if name != INPUT:
            raise InvalidInput(f"input {short(name)} is not known: expected one input, named {short(INPUT)}")
    if len(names) != 1:
        raise InvalidInput(f"inputs holds {len(names)} tensors: expected one, named {short(INPUT)}")


def outputs_of(names: Sequence[str]) -> Sequence[str]:
    """The outputs to give if these are asked for, each once. Raises InvalidInput."""
    for name in names:
        if name not in OUTPUTS:
            raise InvalidInput(f"output {short(name)} is not known: expected labels, scores or probabilities")
    return tuple(dict.fromkeys(names)) or (LABELS, SCORES)


def choices_of(parameters: Mapping[str, object]) -> tuple[int | None, float | None]:
    """`top_k` and `threshold`. Raises InvalidInput for wrong values and unknown parameters."""
    for name in parameters:
        if name not in PARAMETERS:
            raise InvalidInput(f"parameter {short(name)} is not known: expected top_k or threshold")
    return _top_k(parameters.get("top_k")), _threshold(parameters.get("threshold"))


def response_to(
    request: InferRequest, answer: Answer, *, question: Question, version: str, labels: Sequence[str]
) -> InferResponse:
    """The v2 response that carries the outputs asked for, in the order asked for.

    `labels` are the names of the columns of `probabilities`, which carries them as its parameter.
    """
    tensors = _tensors(answer)
    outputs = [_output(request, name, *tensors[name]) for name in question.outputs]
    for output in outputs:
        if output.name == PROBABILITIES:
            output.parameters = {**(output.parameters or {}), "labels": names_of(labels)}
    return InferResponse(
        response_id=request.id or str(uuid.uuid4()),
        model_name=request.model_name,
        model_version=version,
        infer_outputs=outputs,
        use_binary_outputs=request.use_binary_outputs,
        requested_outputs=_encodings(request, question),
    )


def names_of(labels: Sequence[str]) -> str:
    """The labels as the parameter of `probabilities` that names its columns: a JSON list."""
    return json.dumps(list(labels), ensure_ascii=False)


def predictions_of(answer: Answer) -> dict[str, list[dict[str, list[str] | list[float]]]]:
    """The v1 response."""
    return {"predictions": [{LABELS: list(each.labels), SCORES: list(each.scores)} for each in answer.predictions]}


def require_bytes(name: str, datatype: str) -> None:
    """Raise InvalidInput unless the datatype is that of texts."""
    if datatype != "BYTES":
        raise InvalidInput(f"input {short(name)} has datatype {short(datatype)}: expected BYTES")


def _parameters(request: InferRequest) -> dict[str, object]:
    """The request's own parameters; those of gRPC, which has no fractions, may be numbers in a string."""
    if not request.from_grpc:
        return dict(request.parameters or {})
    parameters: dict[str, object] = to_http_parameters(request.parameters or {})
    threshold = parameters.get("threshold")
    if isinstance(threshold, str):
        with suppress(ValueError):  # refused where values are judged, as it came
            if math.isfinite(number := float(threshold)):
                parameters["threshold"] = number
    return parameters


def _top_k(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise InvalidInput(f"parameter top_k is {short(value)}: expected a positive integer")


def _threshold(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InvalidInput(f"parameter threshold is {short(value)}: expected a number from 0 to 1")


def _boolean(what: str, value: object) -> bool:
    """The value, if it is one of the two. Raises InvalidInput."""
    if isinstance(value, bool):
        return value
    raise InvalidInput(f"{what} is {short(value)}: expected true or false")


def _texts(tensor: InferInput) -> list[str]:
    require_bytes(tensor.name, tensor.datatype)
    count = count_of(tensor.shape)
    elements = _elements(tensor)
    require_count(len(elements), count)
    return [text_of(at, element) for at, element in enumerate(elements)]


def _elements(tensor: InferInput) -> Sequence[object]:
    if isinstance(tensor.data, list) and tensor.data:
        return tensor.data
    try:
        elements: NDArray[np.object_] = tensor.as_numpy()
    except (struct.error, ValueError) as error:
        expected = f"{tensor.shape[0]} texts, each after its length as four bytes, little-endian"
        raise InvalidInput(f"input {short(INPUT)} has contents that end early or late: expected {expected}") from error
    return list(elements)


def count_of(shape: Sequence[int]) -> int:
    """How many texts a shape speaks of. Raises InvalidInput."""
    if len(shape) != 1 or shape[0] < 0:
        raise InvalidInput(f"input {short(INPUT)} has shape {short(shape)}: expected [n], n being the number of texts")
    return shape[0]


def require_count(found: int, expected: int) -> None:
    """Raise InvalidInput unless there are as many texts as the shape says."""
    if found != expected:
        raise InvalidInput(f"input {short(INPUT)} has {found} texts: expected {short(expected)}, as its shape says")


def text_of(at: int, element: object) -> str:
    """The element as a text. Raises InvalidInput."""
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise InvalidInput(f"input {short(INPUT)} holds {short(element)} at {at}: expected a string")
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input {short(INPUT)} holds bytes at {at} that are no text: expected UTF-8") from error


def _tensors(answer: Answer) -> dict[str, tuple[str, NDArray[np.object_] | Floats]]:
    """Every output; rows are padded with "" and 0 to the longest."""
    longest = max((len(each.labels) for each in answer.predictions), default=0)
    labels = np.full((len(answer.predictions), longest), "", np.object_)
    scores = np.zeros((len(answer.predictions), longest), np.float32)
    for row, each in enumerate(answer.predictions):
        labels[row, : len(each.labels)] = each.labels
        scores[row, : len(each.scores)] = each.scores
    return {LABELS: ("BYTES", labels), SCORES: ("FP32", scores), PROBABILITIES: ("FP32", answer.probabilities)}


def _output(request: InferRequest, name: str, datatype: str, tensor: NDArray[np.object_] | Floats) -> InferOutput:
    """The tensor in the form that the SDK sends as the client asked: over gRPC it decides that here, over REST later."""
    output = InferOutput(name, list(tensor.shape), datatype, data=tensor)
    if request.from_grpc and request.use_binary_outputs:
        output.set_data_from_numpy(tensor, binary_data=True)
    elif request.from_grpc:
        output.data = tensor.ravel().tolist()
    return output


def _encodings(request: InferRequest, question: Question) -> list[RequestedOutput]:
    """Each output, and whether it goes in binary. Said of every one: else the SDK forgets what the whole request asked for."""
    own = {each.name: each.parameters or {} for each in request.request_outputs or ()}
    chosen = []
    for name in question.outputs:
        binary = own.get(name, {}).get("binary_data", request.use_binary_outputs)
        chosen.append(RequestedOutput(name, {"binary_data": _boolean(f"output {short(name)}: parameter binary_data", binary)}))
    return chosen
