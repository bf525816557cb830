"""Proxy in front of a real S3 server that fails now and then, as networks and stores do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

CONFLICT = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>ConditionalRequestConflict</Code><Message>At least one conflicting operation occurred</Message></Error>"""
BUSY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"""
STARTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>XMinioServerNotInitialized</Code><Message>Server not initialized yet, please try again.</Message></Error>"""
DENIED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"""


@dataclass
class S3Faults:
    """Faults of the proxy, and the requests so far (`seen`).

    starting: number of requests that get 503 and are not passed on. conflicts: number of conditional PUTs that get 409 and are
    not passed on. busy: number of PUTs that get 503. lost_answers: number of PUTs that are passed on, but get no response.
    denied: whether a request (method, path with query) is refused.
    """

    address: str = ""
    starting: int = 0
    conflicts: int = 0
    lost_answers: int = 0
    busy: int = 0
    denied: Callable[[str, str], bool] = lambda method, path: False
    seen: list[str] = field(default_factory=list)
    _held: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)
    _holding: bool = False

    @contextmanager
    def held_answers(self) -> Iterator[threading.Event]:
        """Pass PUTs on, and hold their responses back until the end, then lose them. Yields what the first one sets."""
        self._holding = True
        try:
            yield self._held
        finally:
            self._holding = False
            self._released.set()

    def refusal(self, method: str, path: str, *, is_conditional: bool) -> tuple[int, bytes] | None:
        """Return status and body of a request that is not passed on."""
        if self.starting:
            self.starting -= 1
            return 503, STARTING
        if self.denied(method, path):
            return 403, DENIED
        if method == "PUT" and is_conditional and self.conflicts:
            self.conflicts -= 1
            return 409, CONFLICT
        if method == "PUT" and self.busy:
            self.busy -= 1
            return 503, BUSY
        return None

    def lose_answer(self) -> bool:
        """Return whether the response to a PUT is lost, after the time for which it is held back."""
        if self._holding:
            self._held.set()
            self._released.wait()
            return True
        if self.lost_answers:
            self.lost_answers -= 1
            return True
        return False


@contextmanager
def broken_s3(server: str) -> Iterator[S3Faults]:
    """Run a proxy in front of the S3 server at this address."""
    faults = S3Faults()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(faults, urlsplit(server).netloc))
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    faults.address = f"http://127.0.0.1:{listening.server_address[1]}"
    try:
        yield faults
    finally:
        listening.shutdown()
        listening.server_close()


def _handler(faults: S3Faults, behind: str) -> type[BaseHTTPRequestHandler]:
    class ProxyHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

        def pass_on(self) -> None:
            faults.seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            refused = faults.refusal(self.command, self.path, is_conditional=bool(self.headers.get("If-None-Match")))
            if refused is not None:
                return self.answer(refused[0], {"Content-Type": "application/xml"}, refused[1])
            client = http.client.HTTPConnection(behind, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
            client.request(self.command, self.path, body, headers)
            said = client.getresponse()
            content = said.read()
            client.close()
            if self.command == "PUT" and faults.lose_answer():
                self.close_connection = True
                return None
            return self.answer(said.status, dict(said.getheaders()), content)

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", headers.get("content-length")) if self.command == "HEAD" else len(content)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on  # noqa: N815

    return ProxyHandler
