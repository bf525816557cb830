"""What is asked and what is answered, whichever protocol carries it; and the SDK's types to these and back.

`InferRequest` and `InferResponse` come with gRPC; REST has `codec`. Knows no transport and no model. Whatever a client
got wrong is InvalidInput, one sentence that names field, value and expectation.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from numpy.typing import NDArray

from model.classifier import Floats, Prediction
from model.serving.errors import TextsTooLarge, not_a_string, shown, wrong_shape

INPUT = "text"
LABELS, SCORES, PROBABILITIES = "labels", "scores", "probabilities"
OUTPUTS = (LABELS, SCORES, PROBABILITIES)
# What Triton's clients say of a request that belongs to a sequence: for models that keep a state.
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
PARAMETERS = ("top_k", "threshold", "timeout", "priority", *SEQUENCE, "content_type", "binary_data_output")
# What MLServer's clients say of elements that are texts; under others, such as base64, they are something else.
CONTENT_TYPES = ("str", "np", "pd")
LONGEST_TIMEOUT_SECONDS = 86_400.0  # a longer one is as good as none, and no timer takes just any number
INPUT_PARAMETERS, OUTPUT_PARAMETERS = ("binary_data_size", "content_type"), ("binary_data",)
MOST_OUTPUTS = 16  # that one request may name: there are three, and some clients repeat themselves
LARGE = 64 * 1024  # bytes of a request from which its parts are counted before it is read
MARKUP = 2**20  # characters of a request besides its texts: more than any needs
MOST_ID = 1024  # characters of a request's id, which is sent back
COUNTED_AT_ONCE = 1 << 18  # bytes; what is made to count them takes twice as much memory
SPARE = 256  # parts of a request besides its texts: more than there are parameters and outputs to name
NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")  # as JSON writes it


@dataclass(frozen=True)
class Limits:
    """What one request may ask: texts, characters in each, and characters in all of them."""

    texts: int
    characters: int
    request_characters: int

    def check_parts(self, parts: int) -> None:
        """Raise InvalidInput where a request is of more strings, fields and numbers than any with so many texts."""
        if parts > self.texts + SPARE:
            raise InvalidInput(
                f"the request has over {self.texts + SPARE} strings or fields: expected at most {self.texts} texts"
            )

    def check_count(self, count: int) -> None:
        """Raise InvalidInput where there are too many texts."""
        if count > self.texts:
            raise InvalidInput(f"the request has {shown(count)} texts: expected at most {self.texts}")

    def check_size(self, characters: int) -> None:
        """Raise TextsTooLarge where a request has so many characters that its texts must have too many, read or not."""
        if characters > self.request_characters + MARKUP:
            raise TextsTooLarge(f"about {characters}", self.request_characters)

    def check(self, texts: Sequence[str]) -> None:
        """Raise InvalidInput where there are too many texts, or too long ones; TextsTooLarge where all together are."""
        self.check_count(len(texts))
        total = 0
        for at, text in enumerate(texts):
            total += len(text)
            if len(text) > self.characters:
                raise InvalidInput(f"text {at} has {len(text)} characters: expected at most {self.characters}")
        if total > self.request_characters:
            raise TextsTooLarge(total, self.request_characters)


@dataclass(frozen=True)
class Question:
    """Texts, and how their labels are chosen (`PredictionRule.predictions` says what None means)."""

    texts: Sequence[str]
    top_k: int | None = None
    threshold: float | None = None
    outputs: Sequence[str] = (LABELS, SCORES)
    timeout_seconds: float | None = None  # after which nobody waits for the answer


@dataclass(frozen=True)
class Answer:
    """A prediction and a row of probabilities [texts, labels] for each text."""

    predictions: Sequence[Prediction]
    probabilities: Floats


def question_of(request: InferRequest, limits: Limits) -> Question:
    """What a v2 request asks; its texts are read only if they are not too many. Raises InvalidInput."""
    require_short_id(request.id)
    parameters = _parameters(request)
    top_k, threshold = choices_of(parameters)
    _boolean("parameter binary_data_output", parameters.get("binary_data_output", False))
    require_one([each.name for each in request.inputs])
    require_input_parameters(request.inputs[0].parameters or {})
    outputs = outputs_of([each.name for each in request.request_outputs or ()])
    for at, each in enumerate(request.request_outputs or ()):
        require_known(f"outputs[{at}].parameters", each.parameters or (), OUTPUT_PARAMETERS)
    return Question(_texts(request.inputs[0], limits), top_k, threshold, outputs, timeout_of(parameters))


def characters_of(sent: bytes) -> int:
    """Return how many characters the bytes hold, if they are UTF-8: bytes that continue none."""
    written = np.frombuffer(sent, np.uint8)
    starts = range(0, len(written), COUNTED_AT_ONCE)
    return sum(int(np.count_nonzero((written[at : at + COUNTED_AT_ONCE] & 0xC0) != 0x80)) for at in starts)


def require_short_id(identity: str | None) -> None:
    """Raise InvalidInput for an id that is too long to be sent back."""
    if identity is not None and len(identity) > MOST_ID:
        raise InvalidInput(f"id has {len(identity)} characters: expected at most {MOST_ID}")


def require_one(names: Sequence[str]) -> None:
    """Raise InvalidInput unless these are the names of one input, `text`."""
    for name in names:
        if name != INPUT:
            raise InvalidInput(f"input {shown(name)} is not known: expected one input, named {shown(INPUT)}")
    if len(names) != 1:
        raise InvalidInput(f"inputs holds {len(names)} tensors: expected one, named {shown(INPUT)}")


def outputs_of(names: Sequence[str]) -> Sequence[str]:
    """The outputs to give if these are asked for, each once. Raises InvalidInput."""
    require_few_outputs(len(names))
    for name in names:
        if name not in OUTPUTS:
            raise InvalidInput(f"output {shown(name)} is not known: expected labels, scores or probabilities")
    return tuple(dict.fromkeys(names)) or (LABELS, SCORES)


def require_few_outputs(count: int) -> None:
    """Raise InvalidInput where a request names too many outputs."""
    if count > MOST_OUTPUTS:
        raise InvalidInput(f"outputs holds {count} tensors: expected at most {MOST_OUTPUTS}")


def require_input_parameters(parameters: Mapping[str, object]) -> None:
    """Raise InvalidInput for parameters of the input that are not known, or say that its elements are no texts."""
    require_known("inputs[0].parameters", parameters, INPUT_PARAMETERS)
    _content_type("inputs[0].parameters.content_type", parameters.get("content_type"))


def require_known(where: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise InvalidInput for a tensor's parameter that is not known there: nobody would look at it."""
    for name in names:
        if name not in known:
            place = "top_k and threshold go in the request's own parameters"
            raise InvalidInput(f"{where} has {shown(name)}: expected {' or '.join(known)}; {place}")


def choices_of(parameters: Mapping[str, object]) -> tuple[int | None, float | None]:
    """`top_k` and `threshold`. Raises InvalidInput for wrong values of any parameter, and for unknown parameters."""
    for name in parameters:
        require_parameter(name)
    timeout_of(parameters)
    _priority(parameters.get("priority"))
    _content_type("parameter content_type", parameters.get("content_type"))
    for name in SEQUENCE:
        if parameters.get(name):  # 0, false and "" say that there is no sequence
            raise InvalidInput(
                f"parameter {name} is {shown(parameters[name])}: expected none, for each text is answered by itself"
            )
    return _top_k(parameters.get("top_k")), _threshold(parameters.get("threshold"))


def require_parameter(name: str) -> None:
    """Raise InvalidInput for a name that is no parameter of a request."""
    if name not in PARAMETERS:
        raise InvalidInput(f"parameter {shown(name)} is not known: expected top_k or threshold")


def timeout_of(parameters: Mapping[str, object]) -> float | None:
    """Return the `timeout` in seconds, which Triton's clients give in microseconds; None for none. Raises InvalidInput."""
    value = parameters.get("timeout")
    if value is None:
        return None
    if not _is_count(value):
        raise InvalidInput(f"parameter timeout is {shown(value)}: expected microseconds, an integer from 0 on; 0 is no timeout")
    seconds = min(value, LONGEST_TIMEOUT_SECONDS * 1e6) / 1e6
    return seconds if 0 < seconds < LONGEST_TIMEOUT_SECONDS else None


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
        raise InvalidInput(f"input {shown(name)} has datatype {shown(datatype)}: expected BYTES")


def _parameters(request: InferRequest) -> dict[str, object]:
    """The request's own parameters; those of gRPC, which has no fractions, may be numbers in a string."""
    if not request.from_grpc:
        return dict(request.parameters or {})
    parameters: dict[str, object] = to_http_parameters(request.parameters or {})
    threshold = parameters.get("threshold")
    if isinstance(threshold, str) and NUMBER.fullmatch(threshold) and math.isfinite(number := float(threshold)):
        parameters["threshold"] = number  # anything else is refused where values are judged, as it came
    return parameters


def _top_k(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise InvalidInput(f"parameter top_k is {shown(value)}: expected a positive integer")


def _threshold(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InvalidInput(f"parameter threshold is {shown(value)}: expected a number from 0 to 1")


def _priority(value: object) -> None:
    """Raise InvalidInput unless it is a priority. All requests have the same, as in Triton for a model without levels."""
    if value is not None and not _is_count(value):
        raise InvalidInput(f"parameter priority is {shown(value)}: expected an integer from 0 on")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _content_type(what: str, value: object) -> None:
    """Raise InvalidInput unless the elements are texts as they are."""
    if value is not None and value not in CONTENT_TYPES:
        raise InvalidInput(f"{what} is {shown(value)}: expected str, for every element is a text")


def _boolean(what: str, value: object) -> bool:
    """The value, if it is one of the two. Raises InvalidInput."""
    if isinstance(value, bool):
        return value
    raise InvalidInput(f"{what} is {shown(value)}: expected true or false")


def _texts(tensor: InferInput, limits: Limits) -> list[str]:
    require_bytes(tensor.name, tensor.datatype)
    count = count_of(tensor.shape)
    limits.check_count(count)
    raw: bytes | None = tensor._raw_data  # noqa: SLF001, the SDK tells it only decoded, however many elements that makes
    elements: Sequence[object] = (tensor.data or ()) if raw is None else _unpacked(raw, count)
    require_count(len(elements), count)
    return [text_of(at, element) for at, element in enumerate(elements)]


def _unpacked(raw: bytes, count: int) -> list[bytes]:
    """The elements of a binary tensor. Raises InvalidInput if they are not so many."""
    elements = []
    at = 0
    for _ in range(count):
        begin = at + 4
        at = begin + int.from_bytes(raw[at:begin], "little")
        if max(begin, at) > len(raw):
            break
        elements.append(raw[begin:at])
    if len(elements) != count or at != len(raw):
        expected = f"{_told(count)}, each after its length as four bytes, little-endian"
        raise InvalidInput(f"input {shown(INPUT)} has contents that end early or late: expected {expected}")
    return elements


def count_of(shape: Sequence[int]) -> int:
    """How many texts a shape speaks of: [n], or [n, 1] as batching clients write it. Raises InvalidInput."""
    if len(shape) not in {1, 2} or shape[0] < 0 or shape[1:] not in ((), [], (1,), [1]):
        raise InvalidInput(wrong_shape(shown(shape)))
    return shape[0]


def require_count(found: int, expected: int) -> None:
    """Raise InvalidInput unless there are as many texts as the shape says."""
    if found != expected:
        raise InvalidInput(f"input {shown(INPUT)} has {_told(found)}: expected {shown(expected)}, as its shape says")


def _told(count: int) -> str:
    return f"{count} text" if count == 1 else f"{count} texts"


def text_of(at: int, element: object) -> str:
    """The element as a text. Raises InvalidInput."""
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise InvalidInput(not_a_string(at, shown(element)))
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input {shown(INPUT)} holds bytes at {at} that are no text: expected UTF-8") from error


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
        chosen.append(RequestedOutput(name, {"binary_data": _boolean(f"output {shown(name)}: parameter binary_data", binary)}))
    return chosen
