"""HTTP/1.1 by hand, for requests that clients' libraries do not send: broken ones, slow ones, thousands at once."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
CLASS_NAME = re.compile(r"Traceback|<class|\b[A-Z]\w*(Error|Exception|Warning|Interrupt)\b|object at 0x|\.py\b")


@dataclass(frozen=True)
class Answer:
    """Complete response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request. Header names are written with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def exchange(port: int, sent: bytes, *, patience: float = 10.0) -> bytes:
    """Close the sending side, and return all bytes until the server closes the connection. Raises TimeoutError if it hangs."""
    with socket.create_connection((HOST, port), timeout=patience) as connection:
        received: list[bytes] = []
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(1 << 16):
                received.append(part)
        except (ConnectionError, BrokenPipeError):
            pass
        return b"".join(received)


def answers(received: bytes, *, bodiless: bool = False) -> Iterator[Answer]:
    """Return every complete response in the received bytes, without interim ones. bodiless: for HEAD."""
    while b"\r\n\r\n" in received:
        head, received = received.split(b"\r\n\r\n", 1)
        status, headers = _head(head)
        length = 0 if bodiless else int(headers.get("content-length", 0))
        if status >= 200:
            yield Answer(status, headers, received[:length])
        received = received[length:] if status >= 200 else received


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return the next response. Raises asyncio.IncompleteReadError or ConnectionError if there is none."""
    status, headers = _head((await reader.readuntil(b"\r\n\r\n"))[:-4])
    return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))


async def ask(port: int, sent: bytes) -> Answer:
    """Send a request on a new connection, and return the response."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(sent)
        return await read_answer(reader)
    finally:
        writer.close()


def check_refusal(answer: Answer) -> None:
    """Check a refusal: a client error with one sentence, without any Python in it."""
    assert 400 <= answer.status < 500, (answer.status, answer.body)
    assert answer.status != 422
    assert answer.headers["content-type"].startswith("application/json"), answer
    check_sentence(json.loads(answer.body))


def check_sentence(content: Any) -> None:
    assert list(content) == ["error"], content
    assert isinstance(content["error"], str)
    assert content["error"].strip()
    assert not CLASS_NAME.search(content["error"]), content


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines)
    return int(status.split()[1]), {name.strip().lower(): value.strip() for name, value in pairs}
