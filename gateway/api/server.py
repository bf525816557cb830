"""HTTP server of the API: uvicorn. On SIGTERM it answers waiting requests at once, finishes the others, then stops."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from types import FrameType

import uvicorn

from gateway.api.app import make_app
from gateway.config import GatewayConfig, SettingRejected
from gateway.work.dispatch import make_dispatcher, send_hint

logger = logging.getLogger(__name__)


def serve(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises SettingRejected."""
    if config.tokens_file is None and not config.anonymous:
        raise SettingRejected("no client may call: expected --tokens-file, or --anonymous")
    dispatcher = make_dispatcher(config.redis)
    stopping = asyncio.Event()
    app = make_app(config, lambda: send_hint(dispatcher), stopping)
    server = _Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(config.grace_seconds),
            h11_max_incomplete_event_size=64 * 1024,
        ),
        stopping,
    )
    listener = _listening(config)
    logger.info("the API listens on http://%s:%d", *listener.getsockname()[:2])
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answer at once the requests that wait for an outcome; then stop as uvicorn does."""
        self._stopping.set()  # in the thread of the loop, which looks at `should_exit` ten times a second
        super().handle_exit(sig, frame)


def _listening(config: GatewayConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, dualstack_ipv6=config.host == "::", backlog=2048)
    except OSError as error:
        raise SettingRejected(f"cannot listen on {config.host} port {config.port}: {os.strerror(error.errno or 0)}") from error
