"""Inference requests and results, whichever protocol carries them; conversion from and to the SDK's types.

gRPC uses the SDK's `InferRequest` and `InferResponse`, REST uses `codec`. Knows no transport and no model. Invalid requests raise
InvalidInput.

To add a parameter that selects labels, add a field to `model.classifier.Selection` and a line to SELECTION_READERS.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters
from numpy.typing import NDArray

from model.classifier import Floats, Prediction, Selection
from model.serving.errors import SELECTION_NAMES, TextsTooLarge, not_a_string, short_json, wrong_shape

INPUT_NAME = "text"
LABELS, SCORES, PROBABILITIES = "labels", "scores", "probabilities"
OUTPUTS = (LABELS, SCORES, PROBABILITIES)
SEQUENCE_PARAMETERS = ("sequence_id", "sequence_start", "sequence_end")  # sent by Triton's clients to stateful models
# Values of MLServer's `content_type` for plain texts. Others, such as base64, are for encoded ones.
CONTENT_TYPES = ("str", "np", "pd")
INPUT_PARAMETERS, OUTPUT_PARAMETERS = ("binary_data_size", "content_type"), ("binary_data",)
MAX_TIMEOUT_SECONDS = 86_400.0  # longer timeouts count as none, since timers have a maximum
MAX_OUTPUTS = 16  # named in one request: there are only three, but some clients repeat them
MAX_ID_CHARACTERS = 1024  # of a request's id, which is sent back
LARGE_REQUEST_BYTES = 64 * 1024  # the parts of larger requests are counted before they are parsed
MAX_MARKUP_CHARACTERS = 2**20  # of a request besides its texts: more than any valid one has
MAX_OTHER_PARTS = 256  # strings, fields and numbers of a request besides its texts: more than any valid one has
COUNTED_CHUNK_BYTES = 1 << 18  # bytes that are counted at once; counting takes twice as many bytes of memory
JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True)
class Limits:
    """Bounds of one request: texts, characters of each text, characters of all texts."""

    texts: int
    characters: int
    request_characters: int

    def check_parts(self, parts: int) -> None:
        """Raise InvalidInput if a request has more strings, fields and numbers than any valid one."""
        if parts > self.texts + MAX_OTHER_PARTS:
            raise InvalidInput(
                f"the request has over {self.texts + MAX_OTHER_PARTS} strings or fields: expected at most {self.texts} texts"
            )

    def check_count(self, count: int) -> None:
        """Raise InvalidInput if there are too many texts."""
        if count > self.texts:
            raise InvalidInput(f"the request has {short_json(count)} texts: expected at most {self.texts}")

    def check_size(self, characters: int) -> None:
        """Raise TextsTooLarge if a request that is not parsed yet has too many characters, even without its markup."""
        if characters > self.request_characters + MAX_MARKUP_CHARACTERS:
            raise TextsTooLarge(f"about {characters}", self.request_characters)

    def check(self, texts: Sequence[str]) -> None:
        """Raise InvalidInput for too many texts or one that is too long; TextsTooLarge for too many characters in all."""
        self.check_count(len(texts))
        total = 0
        for at, text in enumerate(texts):
            total += len(text)
            if len(text) > self.characters:
                raise InvalidInput(f"text {at} has {len(text)} characters: expected at most {self.characters}")
        if total > self.request_characters:
            raise TextsTooLarge(total, self.request_characters)


class InferenceRequest(NamedTuple):
    """Texts to classify.

    selection: choice of labels; None: by the version's own rule.
    timeout_seconds: time after which the client stops waiting; None: no timeout.
    outputs: names of the tensors in the v2 response.
    """

    texts: Sequence[str]
    selection: Selection | None = None
    timeout_seconds: float | None = None
    outputs: Sequence[str] = (LABELS, SCORES)


class InferenceResult(NamedTuple):
    """A prediction and a row of probabilities [texts, labels] for each text."""

    predictions: Sequence[Prediction]
    probabilities: Floats


# --- parameters of a request ------------------------------------------------------------------------------------------


def _top_k(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InvalidInput(f"parameter top_k is {short_json(value)}: expected a positive integer")


def _threshold(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise InvalidInput(f"parameter threshold is {short_json(value)}: expected a number from 0 to 1")


# Parser of each parameter that is a field of `Selection`. Raises InvalidInput for a wrong value.
SELECTION_READERS: dict[str, Callable[[object], Any]] = {"top_k": _top_k, "threshold": _threshold}
PARAMETERS = (*SELECTION_READERS, "timeout", "priority", *SEQUENCE_PARAMETERS, "content_type", "binary_data_output")


def read_parameters(parameters: Mapping[str, object] | None) -> tuple[Selection | None, float | None]:
    """Return a request's selection and its timeout in seconds. Raises InvalidInput for unknown names and wrong values."""
    if not parameters:
        return None, None
    for name in parameters:
        require_parameter(name)
    timeout_seconds = _timeout_seconds(parameters.get("timeout"))
    priority = parameters.get("priority")  # without effect, as in Triton without priority levels
    if priority is not None and not _is_count(priority):
        raise InvalidInput(f"parameter priority is {short_json(priority)}: expected a non-negative integer")
    _require_content_type("parameter content_type", parameters.get("content_type"))
    for name in SEQUENCE_PARAMETERS:
        if parameters.get(name):  # 0, false and "" mean no sequence
            raise InvalidInput(
                f"parameter {name} is {short_json(parameters[name])}: expected none, since each text is classified on its own"
            )
    chosen = {name: read(parameters[name]) for name, read in SELECTION_READERS.items() if parameters.get(name) is not None}
    return Selection(**chosen) if chosen else None, timeout_seconds


def require_parameter(name: str) -> None:
    """Raise InvalidInput for a name that is no parameter of a request."""
    if name not in PARAMETERS:
        raise InvalidInput(f"parameter {short_json(name)} is not known: expected {' or '.join(SELECTION_NAMES)}")


def _timeout_seconds(microseconds: object) -> float | None:
    if microseconds is None:
        return None
    if not _is_count(microseconds):
        expected = "microseconds, a non-negative integer; 0 means no timeout"
        raise InvalidInput(f"parameter timeout is {short_json(microseconds)}: expected {expected}")
    seconds = min(microseconds, MAX_TIMEOUT_SECONDS * 1e6) / 1e6
    return seconds if 0 < seconds < MAX_TIMEOUT_SECONDS else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _require_content_type(what: str, value: object) -> None:
    """Raise InvalidInput unless the content type is one of plain texts."""
    if value is not None and value not in CONTENT_TYPES:
        raise InvalidInput(f"{what} is {short_json(value)}: expected str, since every element is a text")


# --- inputs and outputs, in any protocol ------------------------------------------------------------------------------


def count_characters(encoded: bytes) -> int:
    """Return the number of characters in UTF-8 bytes: those that are not continuation bytes."""
    array = np.frombuffer(encoded, np.uint8)
    starts = range(0, len(array), COUNTED_CHUNK_BYTES)
    return sum(int(np.count_nonzero((array[at : at + COUNTED_CHUNK_BYTES] & 0xC0) != 0x80)) for at in starts)


def require_short_id(identity: str | None) -> None:
    """Raise InvalidInput for an id that is too long to be sent back."""
    if identity is not None and len(identity) > MAX_ID_CHARACTERS:
        raise InvalidInput(f"id has {len(identity)} characters: expected at most {MAX_ID_CHARACTERS}")


def require_text_input(names: Sequence[str]) -> None:
    """Raise InvalidInput unless there is one input, named `text`."""
    for name in names:
        if name != INPUT_NAME:
            raise InvalidInput(f"input {short_json(name)} is not known: expected one input, named {short_json(INPUT_NAME)}")
    if len(names) != 1:
        raise InvalidInput(f"inputs holds {len(names)} tensors: expected one, named {short_json(INPUT_NAME)}")


def require_bytes_datatype(name: str, datatype: str) -> None:
    """Raise InvalidInput unless an input's datatype is BYTES."""
    if datatype != "BYTES":
        raise InvalidInput(f"input {short_json(name)} has datatype {short_json(datatype)}: expected BYTES")


def require_input_parameters(parameters: Mapping[str, object]) -> None:
    """Raise InvalidInput for unknown parameters of the input, or a content type other than plain texts."""
    require_known("inputs[0].parameters", parameters, INPUT_PARAMETERS)
    _require_content_type("inputs[0].parameters.content_type", parameters.get("content_type"))


def require_known(where: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Raise InvalidInput for an unknown parameter of a tensor, since it would have no effect."""
    for name in names:
        if name not in known:
            hint = f"{' and '.join(SELECTION_NAMES)} go in the request's own parameters"
            raise InvalidInput(f"{where} has {short_json(name)}: expected {' or '.join(known)}; {hint}")


def requested_outputs(names: Sequence[str]) -> Sequence[str]:
    """Return the outputs to send for the requested names, each once. Raises InvalidInput."""
    require_few_outputs(len(names))
    for name in names:
        if name not in OUTPUTS:
            raise InvalidInput(f"output {short_json(name)} is not known: expected labels, scores or probabilities")
    return tuple(dict.fromkeys(names)) or (LABELS, SCORES)


def require_few_outputs(count: int) -> None:
    """Raise InvalidInput if a request names too many outputs."""
    if count > MAX_OUTPUTS:
        raise InvalidInput(f"outputs holds {count} tensors: expected at most {MAX_OUTPUTS}")


def text_count(shape: Sequence[int]) -> int:
    """Return the number of texts in a shape: [n], or [n, 1] as batching clients write it. Raises InvalidInput."""
    if len(shape) not in {1, 2} or shape[0] < 0 or shape[1:] not in ((), [], (1,), [1]):
        raise InvalidInput(wrong_shape(short_json(shape)))
    return shape[0]


def require_text_count(actual: int, expected: int) -> None:
    """Raise InvalidInput unless there are as many texts as the shape says."""
    if actual != expected:
        raise InvalidInput(
            f"input {short_json(INPUT_NAME)} has {_texts(actual)}: expected {short_json(expected)}, as its shape says"
        )


def _texts(count: int) -> str:
    return f"{count} text" if count == 1 else f"{count} texts"


def column_names(labels: Sequence[str]) -> str:
    """Return the labels as a JSON list: the parameter of `probabilities` that names its columns."""
    return json.dumps(list(labels), ensure_ascii=False)


def v1_response(result: InferenceResult) -> dict[str, list[dict[str, list[str] | list[float]]]]:
    """Return the body of a v1 response."""
    return {"predictions": [{LABELS: list(each.labels), SCORES: list(each.scores)} for each in result.predictions]}


# --- the SDK's types: gRPC, and REST with binary tensors --------------------------------------------------------------


def read_infer_request(request: InferRequest, limits: Limits) -> InferenceRequest:
    """Convert a v2 request of the SDK. Its texts are decoded only if there are not too many. Raises InvalidInput."""
    require_short_id(request.id)
    parameters = _parameters(request)
    selection, timeout_seconds = read_parameters(parameters)
    _require_boolean("parameter binary_data_output", parameters.get("binary_data_output", False))
    require_text_input([each.name for each in request.inputs])
    require_input_parameters(request.inputs[0].parameters or {})
    outputs = requested_outputs([each.name for each in request.request_outputs or ()])
    for at, each in enumerate(request.request_outputs or ()):
        require_known(f"outputs[{at}].parameters", each.parameters or (), OUTPUT_PARAMETERS)
    return InferenceRequest(_decoded_texts(request.inputs[0], limits), selection, timeout_seconds, outputs)


def _parameters(request: InferRequest) -> dict[str, object]:
    """Return the request's own parameters. gRPC has no fractions, so its threshold may be a number in a string."""
    if not request.from_grpc:
        return dict(request.parameters or {})
    parameters: dict[str, object] = to_http_parameters(request.parameters or {})
    threshold = parameters.get("threshold")
    if isinstance(threshold, str) and JSON_NUMBER.fullmatch(threshold) and math.isfinite(number := float(threshold)):
        parameters["threshold"] = number
    return parameters


def _require_boolean(what: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidInput(f"{what} is {short_json(value)}: expected true or false")


def _decoded_texts(tensor: InferInput, limits: Limits) -> list[str]:
    require_bytes_datatype(tensor.name, tensor.datatype)
    count = text_count(tensor.shape)
    limits.check_count(count)
    raw: bytes | None = tensor._raw_data  # noqa: SLF001, the SDK's public method decodes every element, however many
    elements: Sequence[object] = (tensor.data or ()) if raw is None else _unpacked(raw, count)
    require_text_count(len(elements), count)
    return [_to_text(at, element) for at, element in enumerate(elements)]


def _unpacked(raw: bytes, count: int) -> list[bytes]:
    """Return the elements of a binary tensor. Raises InvalidInput if there are not `count` of them."""
    elements = []
    at = 0
    for _ in range(count):
        begin = at + 4
        at = begin + int.from_bytes(raw[at:begin], "little")
        if max(begin, at) > len(raw):
            break
        elements.append(raw[begin:at])
    if len(elements) != count or at != len(raw):
        expected = f"{_texts(count)}, each preceded by its length in four bytes, little-endian"
        raise InvalidInput(f"input {short_json(INPUT_NAME)} has binary contents of another length: expected {expected}")
    return elements


def _to_text(at: int, element: object) -> str:
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise InvalidInput(not_a_string(at, short_json(element)))
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"input {short_json(INPUT_NAME)} has invalid bytes at position {at}: expected UTF-8") from error


def infer_response(
    sent: InferRequest, result: InferenceResult, *, request: InferenceRequest, version: str, labels: Sequence[str]
) -> InferResponse:
    """Return the v2 response with the requested outputs in the requested order.

    sent: the SDK's request, from which `request` was converted. labels: names of the columns of `probabilities`.
    """
    tensors = _tensors(result)
    outputs = [_output(sent, name, *tensors[name]) for name in request.outputs]
    for output in outputs:
        if output.name == PROBABILITIES:
            output.parameters = {**(output.parameters or {}), "labels": column_names(labels)}
    return InferResponse(
        response_id=sent.id or str(uuid.uuid4()),
        model_name=sent.model_name,
        model_version=version,
        infer_outputs=outputs,
        use_binary_outputs=sent.use_binary_outputs,
        requested_outputs=_output_encodings(sent, request),
    )


def _tensors(result: InferenceResult) -> dict[str, tuple[str, NDArray[np.object_] | Floats]]:
    """Return each output's datatype and values; rows are padded with "" and 0 to the longest."""
    longest = max((len(each.labels) for each in result.predictions), default=0)
    labels = np.full((len(result.predictions), longest), "", np.object_)
    scores = np.zeros((len(result.predictions), longest), np.float32)
    for row, each in enumerate(result.predictions):
        labels[row, : len(each.labels)] = each.labels
        scores[row, : len(each.scores)] = each.scores
    return {LABELS: ("BYTES", labels), SCORES: ("FP32", scores), PROBABILITIES: ("FP32", result.probabilities)}


def _output(sent: InferRequest, name: str, datatype: str, tensor: NDArray[np.object_] | Floats) -> InferOutput:
    """Return the tensor, encoded as requested. For gRPC it is encoded here, for REST later by the SDK."""
    output = InferOutput(name, list(tensor.shape), datatype, data=tensor)
    if sent.from_grpc and sent.use_binary_outputs:
        output.set_data_from_numpy(tensor, binary_data=True)
    elif sent.from_grpc:
        output.data = tensor.ravel().tolist()
    return output


def _output_encodings(sent: InferRequest, request: InferenceRequest) -> list[RequestedOutput]:
    """Return whether each output is binary. All outputs are listed, or the SDK would ignore `binary_data_output`."""
    own = {each.name: each.parameters or {} for each in sent.request_outputs or ()}
    encodings = []
    for name in request.outputs:
        binary = own.get(name, {}).get("binary_data", sent.use_binary_outputs)
        binary = _require_boolean(f"output {short_json(name)}: parameter binary_data", binary)
        encodings.append(RequestedOutput(name, {"binary_data": binary}))
    return encodings
