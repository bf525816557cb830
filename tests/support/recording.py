"""Forwarder in front of a server: passes requests on, and keeps what it saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx


@dataclass
class Recorder:
    """Forwarder. requests: path and headers of each, with small names."""

    address: str
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@contextmanager
def recording(target: str) -> Iterator[Recorder]:
    """Forward to this address."""
    client = httpx.Client(base_url=target, timeout=60, trust_env=False)

    class Handler(BaseHTTPRequestHandler):
        def _forward(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            recorder.requests.append((self.path, headers))
            body = self.rfile.read(int(headers.get("content-length", 0)))
            kind = {"Content-Type": headers["content-type"]} if "content-type" in headers else {}
            response = client.request(self.command, self.path, content=body, headers=kind)
            self.send_response(response.status_code)
            self.send_header("Content-Type", response.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(response.content)))
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST = _forward  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder = Recorder(f"http://127.0.0.1:{server.server_port}")
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        client.close()
