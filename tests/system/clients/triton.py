"""Ask with NVIDIA's tritonclient: `triton.py REST GRPC`, host and port of each. Prints a JSON object, an outcome for each case.

A process of its own: tritonclient's messages have the names of KServe's, and one process can have only one of them. An outcome
is what was answered, or how it was refused: a status and a sentence.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from threading import Event
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

MODEL = "papers"


def main(rest: str, grpc: str) -> None:
    outcomes: dict[str, Any] = {}
    http_client = over_http.InferenceServerClient(rest)
    grpc_client = over_grpc.InferenceServerClient(grpc)
    for name, module, client in (("http", over_http, http_client), ("grpc", over_grpc, grpc_client)):
        for case, ask in cases(module, client).items():
            outcomes[f"{name}-{case}"] = outcome(ask)
    outcomes |= {f"http-{case}": outcome(ask) for case, ask in cases_of_http(http_client).items()}
    outcomes |= {f"grpc-{case}": outcome(ask) for case, ask in cases_of_grpc(grpc_client).items()}
    outcomes["http-asyncio"] = asyncio.run(asynchronously(over_http, over_http_aio, rest))
    outcomes["grpc-asyncio"] = asyncio.run(asynchronously(over_grpc, over_grpc_aio, grpc))
    print(json.dumps(outcomes))  # noqa: T201


def outcome(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except InferenceServerException as refused:
        return [refused.status(), refused.message()]


def texts(module: Any, *some: str, shape: list[int] | None = None, **how: Any) -> list[Any]:
    tensor = module.InferInput("text", shape or [len(some)], "BYTES")
    tensor.set_data_from_numpy(np.array(some, np.object_).reshape(shape or [len(some)]), **how)
    return [tensor]


def labels(result: Any) -> list[list[str]]:
    return [[each if isinstance(each, str) else each.decode() for each in row] for row in result.as_numpy("labels").tolist()]


def cases(module: Any, client: Any) -> dict[str, Callable[[], Any]]:
    """Return the requests that both transports can send."""

    def infer(inputs: list[Any] | None = None, **more: Any) -> list[list[str]]:
        return labels(client.infer(MODEL, inputs or texts(module, "cs.LG math.CO", "stat.ML"), **more))

    def scores() -> list[list[float]]:
        outputs = [module.InferRequestedOutput("scores"), module.InferRequestedOutput("probabilities")]
        result = client.infer(MODEL, texts(module, "cs.LG"), outputs=outputs)
        return [*result.as_numpy("scores").round(2).tolist(), *result.as_numpy("probabilities").round(2).tolist()]

    return {
        "ready": lambda: [client.is_server_live(), client.is_server_ready(), client.is_model_ready(MODEL)],
        "infer": infer,
        "column": lambda: infer(texts(module, "cs.LG", "stat.ML", shape=[2, 1])),
        "scores": scores,
        "version": lambda: infer(model_version="v1"),
        "top-k": lambda: infer(parameters={"top_k": 1}),
        "threshold": lambda: infer(texts(module, "nothing"), parameters={"threshold": 0.1, "top_k": 1}),
        "threshold-above-1": lambda: infer(parameters={"threshold": 1.5}),
        "unknown-number": lambda: infer(parameters={"temperature": 0.5}),
        "unknown-integer": lambda: infer(parameters={"beams": 2}),
        "priority": lambda: infer(priority=1),
        "timeout": lambda: infer(timeout=60_000_000),
        "sequence": lambda: infer(sequence_id=7, sequence_start=True),
        "classification": lambda: infer(outputs=[module.InferRequestedOutput("labels", class_count=2)]),
        "compressed-answer": lambda: infer(
            **({"response_compression_algorithm": "gzip"} if module is over_http else {"compression_algorithm": "gzip"})
        ),
    }


def cases_of_http(client: Any) -> dict[str, Callable[[], Any]]:
    def as_json() -> list[list[str]]:
        outputs = [over_http.InferRequestedOutput("labels", binary_data=False)]
        return labels(client.infer(MODEL, texts(over_http, "cs.LG", shape=[1, 1], binary_data=False), outputs=outputs))

    return {
        "json": as_json,
        "async": lambda: labels(client.async_infer(MODEL, texts(over_http, "cs.LG")).get_result()),
        "compressed-request": lambda: labels(
            client.infer(MODEL, texts(over_http, "cs.LG"), request_compression_algorithm="gzip")
        ),
        "metadata": lambda: client.get_model_metadata(MODEL)["inputs"],
        "config": lambda: client.get_model_config(MODEL),
    }


def cases_of_grpc(client: Any) -> dict[str, Callable[[], Any]]:
    def later() -> list[list[str]]:
        done, kept = Event(), []

        def keep(result: Any, error: Any) -> None:
            kept.append((result, error))
            done.set()

        client.async_infer(MODEL, texts(over_grpc, "cs.LG"), keep)
        assert done.wait(30)
        ((result, error),) = kept
        assert error is None, error
        return labels(result)

    return {
        "async": later,
        "client-timeout": lambda: labels(client.infer(MODEL, texts(over_grpc, "cs.LG"), client_timeout=60)),
        "metadata": lambda: client.get_model_metadata(MODEL, as_json=True)["inputs"],
        "config": lambda: client.get_model_config(MODEL, as_json=True),
    }


async def asynchronously(module: Any, aio: Any, address: str) -> list[list[str]]:
    client = aio.InferenceServerClient(address)
    try:
        return labels(await client.infer(MODEL, texts(module, "cs.LG", shape=[1, 1])))
    finally:
        await client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
