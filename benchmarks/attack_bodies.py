"""Bodies for attacks on a predictor: of the maximum accepted size, each costly in its own way."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

WHOLE = 16 * 2**20 - 4096  # bytes of a body, just within the limit
TEXT = 1_000_000  # characters of a text, as many as are let in


def v2(texts: Sequence[str], *, escaped: bool = False, **more: Any) -> bytes:
    """Return a v2 body."""
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
    return json.dumps({"inputs": [tensor], **more}, ensure_ascii=escaped).encode()


def filled(unit: str, *, text: int = TEXT, whole: int = WHOLE, escaped: bool = False) -> bytes:
    """Return a v2 body with the maximum number and size of texts, made of this unit."""
    size = len(json.dumps(unit, ensure_ascii=escaped).encode()) - 2
    one = unit * max(1, text // len(unit))
    count = min(1024, max(1, (whole - 500) // (size * (len(one) // len(unit)) + 4)))
    return v2([one] * count, escaped=escaped)


def v1(body: bytes) -> bytes:
    """Return the texts of a v2 body as a v1 body."""
    return json.dumps({"instances": json.loads(body)["inputs"][0]["data"]}, ensure_ascii=False).encode()


def rest_bodies() -> dict[str, bytes]:
    """Return each body by the name of its attack."""
    one_wide = "x" * 999_990 + "\U0001f600"  # one such character makes each take four bytes in memory
    return {
        "U+FDFA, texts of 1,000,000": filled("\ufdfa"),
        "U+FDFA, texts of 16,000": filled("\ufdfa", text=16_000),
        "ASCII and an emoji, 16 MB": filled(one_wide),
        "ASCII and an emoji, 8 MB": filled(one_wide, whole=8_000_000),
        "words of 99 letters": filled("x" * 99 + " ", text=16_000),
        "one word a text": filled("x", text=16_000),
        "combining marks": filled("e\u0301\u0323\u0301", text=16_000),
        "joined emoji": filled("\U0001f469\u200d\U0001f467", text=16_000),
        "CJK": filled("\u5b57", text=16_000),
        "zero-width": filled("\u200b", text=16_000),
        "control characters": filled("\x01", text=16_000),
        "musical symbols": filled("\U0001d160", text=16_000),
        "blanks": filled(" ", text=1_000_000),
        "words of one letter": filled("a ", text=16_000),
        "1,024 ordinary texts": v2(["dark matter halos of the galaxy " * 40] * 1024),
        "1,024 texts, probabilities": v2(["dark matter " * 20] * 1024, outputs=[{"name": "probabilities"}]),
        "escapes": filled("\u00e9", escaped=True),
        "escaped backslashes": b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["'
        + b"\\\\u" * 5_000_000
        + b'"]}]}',
        "long id": v2(["a"], id="x" * (WHOLE - 500)),
        "long id, wide": v2(["a"], id="x" * (WHOLE - 500) + "\U0001f600"),
        "long parameter": v2(["a"], parameters={"x" * (WHOLE - 500): 1}),
        "many ids": b'{"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["a"]}],'
        + b'"id":"",' * 2_000_000
        + b'"id":""}',
        "many strings": b'{"inputs":[' + b'"",' * 5_000_000 + b'""]}',
        "blanks around JSON": b" " * (WHOLE - 500) + v2(["a"]),
        "deep": b"[" * WHOLE,
        "not JSON": b"\xff" * WHOLE,
    }


def message(texts: Sequence[bytes], *, raw: bool, **more: Any) -> Any:
    """Return a gRPC request."""
    asked_ = messages.ModelInferRequest(**more)
    tensor = asked_.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
    if raw:
        asked_.raw_input_contents.append(b"".join(struct.pack("<I", len(each)) + each for each in texts))
    else:
        tensor.contents.bytes_contents.extend(texts)
    return asked_
