"""Open inference protocol (v2), as clients of a served classifier write and read it.

question(texts) -> document                  body of a request
read_answer(document, texts=…) -> rows       the version and, for each text, its labels with their scores
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_ANSWER = (KeyError, TypeError, ValueError, IndexError)  # what `read_answer` raises for a document of another kind


def question(texts: Sequence[str]) -> dict[str, Any]:
    """Return the body of a request for the labels of these texts."""
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}]}


def read_answer(document: Mapping[str, Any], *, texts: int) -> tuple[str, list[list[tuple[str, float]]]]:
    """Return the version and, for each text, its labels with their scores, the most probable first.

    texts: number of texts that were sent. Raises NO_ANSWER.
    """
    outputs = {each["name"]: each for each in document["outputs"]}
    rows, width = outputs["labels"]["shape"]
    if rows != texts:
        raise ValueError(f"{rows} rows for {texts} texts")
    pairs = list(zip(outputs["labels"]["data"], map(float, outputs["scores"]["data"]), strict=True))
    table = [pairs[at * width : (at + 1) * width] for at in range(texts)]
    # A row with fewer labels than others is filled up with "".
    return str(document["model_version"]), [[(label, score) for label, score in row if label] for row in table]
