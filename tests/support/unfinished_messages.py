"""gRPC client that begins messages and never ends them: HTTP/2 frames by hand, since no client library stalls on request."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Self

from tests.support.raw_http import HOST

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
ACKNOWLEDGED, END_HEADERS = 1, 4  # flags
INITIAL_WINDOW_SIZE = 4  # id of a setting
DEFAULT_WINDOW, FRAME_BYTES = 65_535, 16_384
PREFIX_BYTES = 5  # of a message: whether it is compressed, and its length


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def literal(name: bytes, value: bytes) -> bytes:
    """Return a header in HPACK without compression."""
    return b"\x00" + b"".join(bytes([len(each)]) + each for each in (name, value))


class UnfinishedMessages:
    """Connection on which each stream sends a message of `size` bytes without its last byte, as fast as the server allows.

    ended: streams that the server has ended. sent: bytes of messages, of all streams.
    """

    def __init__(self, port: int, method: str, *, size: int) -> None:
        self.ended: set[int] = set()
        self.sent = 0
        self._port = port
        self._begun = asyncio.Event()
        self._head = b"".join(
            literal(*each)
            for each in (
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", method.encode()),
                (b":authority", b"localhost"),
                (b"te", b"trailers"),
                (b"content-type", b"application/grpc"),
            )
        )
        self._size = size
        self._next_stream = 1
        self._initial_window = self._window = DEFAULT_WINDOW
        self._windows: dict[int, int] = {}  # of each open stream
        self._unsent: dict[int, int] = {}  # bytes of each open stream

    async def __aenter__(self) -> Self:
        """Connect, and wait for the server's settings."""
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port)
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))
        self._reading = asyncio.create_task(self._read())
        await self._begun.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        self._writer.transport.abort()

    def begin(self, streams: int) -> None:
        """Begin a message on each of `streams` new streams."""
        for _ in range(streams):
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._writer.write(frame(HEADERS, END_HEADERS, stream, self._head))
            self._windows[stream], self._unsent[stream] = self._initial_window, self._size + PREFIX_BYTES - 1
        self._send()

    def _send(self) -> None:
        for stream in list(self._unsent):
            while count := min(FRAME_BYTES, self._window, self._windows[stream], self._unsent[stream]):
                begun = self._unsent[stream] < self._size + PREFIX_BYTES - 1
                content = bytes(count) if begun else (b"\x00" + struct.pack(">I", self._size) + bytes(count))[:count]
                self._writer.write(frame(DATA, 0, stream, content))
                self._window -= count
                self._windows[stream] -= count
                self._unsent[stream] -= count
                self.sent += count

    async def _read(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == SETTINGS and not flags & ACKNOWLEDGED:
                for window in initial_windows(payload):
                    for each in self._windows:
                        self._windows[each] += window - self._initial_window
                    self._initial_window = window
                self._writer.write(frame(SETTINGS, ACKNOWLEDGED, 0))
                self._begun.set()
            elif kind == PING and not flags & ACKNOWLEDGED:
                self._writer.write(frame(PING, ACKNOWLEDGED, 0, payload))
            elif kind == WINDOW_UPDATE:
                if stream == 0:
                    self._window += int.from_bytes(payload, "big")
                elif stream in self._windows:
                    self._windows[stream] += int.from_bytes(payload, "big")
            elif kind == RST_STREAM or (kind == HEADERS and flags & 1):
                self.ended.add(stream)
                self._unsent.pop(stream, None)
            self._send()
            await self._writer.drain()


def initial_windows(settings: bytes) -> Iterator[int]:
    """Yield the values of INITIAL_WINDOW_SIZE in the payload of a SETTINGS frame."""
    for identity, value in struct.iter_unpack(">HI", settings):
        if identity == INITIAL_WINDOW_SIZE:
            yield value
