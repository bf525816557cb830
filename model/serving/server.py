"""Listening, and stopping without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from grpc import aio
from prometheus_client import REGISTRY

from model.classifier import Classifier
from model.manifest import Manifest
from model.serving.config import ServingConfig
from model.serving.metrics import Metrics
from model.serving.predictor import Plane, Predictor
from model.serving.rest import make_app
from model.serving.rpc import make_server

logger = logging.getLogger(__name__)


class CannotListen(Exception):
    """An address or a port cannot be had."""


def serve(classifier: Classifier, manifest: Manifest, config: ServingConfig) -> None:
    """Answer until SIGTERM or SIGINT, then finish what was begun. Raises CannotListen."""
    # The process's registry: the SDK's own series are on it, and one process serves one version.
    metrics = Metrics(manifest, REGISTRY)
    name = config.name or manifest.classifier
    predictor = Predictor(name, classifier, manifest, threads=config.threads, metrics=metrics)
    asyncio.run(_serve(predictor, metrics, config))


async def _serve(predictor: Predictor, metrics: Metrics, config: ServingConfig) -> None:
    plane = Plane(predictor)
    app = make_app(plane, metrics, REGISTRY)
    grace = config.grace_seconds
    rest = _Uvicorn(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=int(grace)))
    grpc = make_server(plane, metrics)
    with _listening(config.host, config.port) as listener:
        grpc_port = _bind_grpc(grpc, config)
        stopping = asyncio.create_task(_signal_received())
        await grpc.start()
        answering = asyncio.create_task(rest.serve(sockets=[listener]))
        where = f"REST on port {listener.getsockname()[1]}, gRPC on port {grpc_port}"
        logger.info("serving %s version %s: %s", predictor.name, predictor.manifest.version, where)
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping: no new requests, those in flight have %g seconds", grace)
        predictor.ready = False
        rest.should_exit = True
        await asyncio.gather(answering, grpc.stop(grace))


class _Uvicorn(uvicorn.Server):
    """Leaves the signals alone: two servers stop on them here, and `_serve` tells both."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _signal_received() -> None:
    """Return at the first SIGTERM or SIGINT."""
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received.set)
    await received.wait()


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}") from error


def _bind_grpc(server: aio.Server, config: ServingConfig) -> int:
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port: int = server.add_insecure_port(f"{host}:{config.grpc_port}")
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {config.host} port {config.grpc_port} for gRPC: it may be taken") from error
    return port
