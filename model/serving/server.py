"""Server process: listen on both ports, and stop without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop
from grpc import aio
from prometheus_client import REGISTRY

from model.classifier import Classifier
from model.manifest import Manifest
from model.serving.batching import Batcher
from model.serving.config import EVERY_ADDRESS, ServingConfig
from model.serving.connections import ConnectionLimiter, connection_class
from model.serving.grpc import MAX_MESSAGE_BYTES, make_server
from model.serving.http import InferenceMiddleware, make_app
from model.serving.metrics import Metrics
from model.serving.parsing_turns import ParsingTurns
from model.serving.predictor import DataPlane, Predictor
from model.serving.requests import Limits
from model.serving.signals import STOP_SIGNALS

KEEP_ALIVE_SECONDS = 75  # longer than load balancers keep idle connections, so that they close them, not the server
DRAIN_SECONDS = 3.0  # seconds in which connected clients may send one more request; its response closes the connection
REFUSE_SECONDS = 0.75  # seconds at the end of the grace period for error responses to the requests that are left
POLL_SECONDS = 0.05
MAX_STALLED_BYTES = 32 * 2**20  # of unfinished requests and of unread responses
RESERVED_FILES = 128  # open files besides the clients' connections

logger = logging.getLogger(__name__)


class CannotListen(Exception):
    """The server cannot listen on an address or a port."""


def serve(classifier: Classifier, manifest: Manifest, config: ServingConfig) -> None:
    """Serve until SIGTERM or SIGINT, then answer the requests in flight. Raises CannotListen."""
    # The process's default registry, because the SDK's own series are on it.
    metrics = Metrics(manifest, REGISTRY, unknown_id=classifier.tokenizer.unknown_id)
    batcher = Batcher(
        classifier, metrics, threads=config.threads, capacity=config.queue_texts, characters=config.max_request_characters
    )
    limits = Limits(texts=config.max_texts, characters=config.max_characters, request_characters=config.max_request_characters)
    predictor = Predictor(config.name or manifest.classifier, manifest, classifier.rule, batcher, limits)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(predictor, metrics, config))
    finally:
        batcher.close()


async def _serve(predictor: Predictor, metrics: Metrics, config: ServingConfig) -> None:
    plane = DataPlane(predictor)
    turns = ParsingTurns()
    middleware = make_app(plane, metrics, REGISTRY, max_body_bytes=config.max_body_bytes, turns=turns)
    files = _open_files() - RESERVED_FILES
    connections = min(config.max_connections, files * 3 // 4)
    arrivals = ConnectionLimiter(connections=connections, stalled_bytes=MAX_STALLED_BYTES, clock=time.monotonic)
    rest = _Uvicorn(
        uvicorn.Config(
            middleware,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=connection_class(arrivals),
            ws="none",
            server_header=False,
            proxy_headers=False,  # the client's address is not used
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
    )
    ending = asyncio.Event()
    grpc = make_server(
        plane,
        metrics,
        model=predictor.name,
        max_message_bytes=min(config.max_body_bytes, MAX_MESSAGE_BYTES),
        connections=files // 8,
        turns=turns,
        stopping=ending,
    )
    with _listening(config.host, config.port) as listener:
        grpc_port = _bind_grpc(grpc, config)
        stopping = asyncio.create_task(_signal_received())
        await grpc.start()
        answering = asyncio.create_task(rest.serve(sockets=[listener]))
        where = f"REST on port {listener.getsockname()[1]}, gRPC on port {grpc_port}"
        logger.info("serving %s version %s: %s", predictor.name, predictor.manifest.version, where)
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        logger.info("stopping: requests in flight have %g seconds", config.grace_seconds)
        predictor.ready = False
        ending.set()
        until = asyncio.get_running_loop().time() + max(0.0, config.grace_seconds - REFUSE_SECONDS)
        ended = asyncio.create_task(grpc.stop(config.grace_seconds))  # refuses new requests from now on
        await _finish(rest, middleware, {answering, ended}, until)
        if predictor.unanswered:
            logger.warning("requests cut off at the end of the grace period: %d", predictor.unanswered)
        await asyncio.gather(_refuse(rest, answering), grpc.stop(None))


async def _finish(rest: _Uvicorn, middleware: InferenceMiddleware, both: set[asyncio.Task[None]], until: float) -> None:
    """Close each client's connection with the response to its next request, then close idle connections.

    Returns when both servers have ended, or at `until` by the event loop's clock.
    """
    clock = asyncio.get_running_loop().time
    middleware.drain(rest.clients())
    drained = min(clock() + DRAIN_SECONDS, until)
    while rest.clients() and clock() < drained:
        await asyncio.sleep(POLL_SECONDS)
    rest.should_exit = True
    await asyncio.wait(both, timeout=max(0.0, until - clock()))


async def _refuse(rest: _Uvicorn, answering: asyncio.Task[None]) -> None:
    """Send an error to every client that still waits, and end the REST server."""
    rest.give_up()
    await asyncio.wait({answering}, timeout=REFUSE_SECONDS)
    rest.hang_up()
    await answering


class _Uvicorn(uvicorn.Server):
    """uvicorn's server without its signal handlers: `_serve` handles signals for both servers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def clients(self) -> set[Any]:
        """Return the addresses of the connected clients, as in `scope["client"]`."""
        return {getattr(each, "client", None) for each in self.server_state.connections}

    def give_up(self) -> None:
        """Cancel every request in flight; the middleware responds to each with an error."""
        for task in self.server_state.tasks:
            task.cancel()

    def hang_up(self) -> None:
        """Close every connection, even if its client has not read the response."""
        for each in list(self.server_state.connections):
            each.transport.abort()


def _open_files() -> int:
    """Raise the limit of open files as far as the system allows, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**20 if hard == resource.RLIM_INFINITY else hard


async def _signal_received() -> None:
    """Return at the first SIGTERM or SIGINT."""
    received = asyncio.Event()
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, received.set)
    await received.wait()


def _listening(host: str, port: int) -> socket.socket:
    every = host == EVERY_ADDRESS
    if every and not socket.has_dualstack_ipv6():
        host, every = "0.0.0.0", False  # noqa: S104, as gRPC does by itself
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=every)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}") from error


def _bind_grpc(server: aio.Server, config: ServingConfig) -> int:
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port: int = server.add_insecure_port(f"{host}:{config.grpc_port}")
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {config.host} port {config.grpc_port} for gRPC: it may be taken") from error
    return port
