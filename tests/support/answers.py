"""HTTP server on this machine whose responses a test chooses."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class ChosenResponse:
    """Response to every request, and the requests so far."""

    status: int = 200
    body: Any = None  # bytes as they are, anything else as JSON
    headers: dict[str, str] = field(default_factory=dict)
    before: float = 0.0  # seconds until the answer
    between: float = 0.0  # seconds between its bytes
    asked: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    port: int = 0

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@contextmanager
def answering(host: str = "127.0.0.1") -> Iterator[ChosenResponse]:
    """Run a server on a free port of `host`."""
    answers = ChosenResponse()

    class ChosenResponseHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answers.asked.append(self.path)
            answers.authorizations.append(self.headers["Authorization"])
            time.sleep(answers.before)
            content = answers.content()
            self.send_response(answers.status)
            self.send_header("Connection", "close")  # or a client may send its next request into a connection that is closing
            length = {} if "Transfer-Encoding" in answers.headers else {"Content-Length": str(len(content))}
            for name, value in (length | answers.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if not answers.between:
                self.wfile.write(content)
                return
            for at in range(len(content)):
                time.sleep(answers.between)
                self.wfile.write(content[at : at + 1])

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    class LocalServer(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore clients that leave."""

    with LocalServer((host, 0), ChosenResponseHandler) as server:
        answers.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answers
        server.shutdown()
        thread.join()
