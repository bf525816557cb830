"""A real S3 server behind a door that fails now and then, as networks and stores do."""

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
DENIED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"""


@dataclass
class Door:
    """conflicts: how many conditional PUTs are answered with 409 and not passed on. lost_answers: how many PUTs are done, but
    never answered. denied: whether a request (method and path with query) is refused. seen: what was asked.
    """

    address: str = ""
    conflicts: int = 0
    lost_answers: int = 0
    denied: Callable[[str, str], bool] = lambda method, path: False
    seen: list[str] = field(default_factory=list)


@contextmanager
def broken_s3(server: str) -> Iterator[Door]:
    """A door before the S3 server at that address."""
    door = Door()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door, urlsplit(server).netloc))
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    door.address = f"http://127.0.0.1:{listening.server_address[1]}"
    try:
        yield door
    finally:
        listening.shutdown()
        listening.server_close()


def _handler(door: Door, behind: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

        def pass_on(self) -> None:
            door.seen.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if door.denied(self.command, self.path):
                return self.answer(403, {"Content-Type": "application/xml"}, DENIED)
            if self.command == "PUT" and self.headers.get("If-None-Match") and door.conflicts:
                door.conflicts -= 1
                return self.answer(409, {"Content-Type": "application/xml"}, CONFLICT)
            client = http.client.HTTPConnection(behind, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
            client.request(self.command, self.path, body, headers)
            said = client.getresponse()
            content = said.read()
            client.close()
            if self.command == "PUT" and door.lost_answers:
                door.lost_answers -= 1
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

    return Handler
