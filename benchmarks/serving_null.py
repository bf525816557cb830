"""Server that answers every request at once, to measure the limit of the serving benchmark's client.

python benchmarks/serving_null.py PORT
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

LABELS = {"name": "labels", "datatype": "BYTES", "shape": [1, 1], "data": ["cs.LG"]}
SCORES = {"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [0.5]}
BODY = json.dumps({"model_name": "null", "model_version": "1", "outputs": [LABELS, SCORES]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Canned(asyncio.Protocol):
    """Connection that reads each request to its end and sends the response."""

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Send the response, called by httptools at the end of a request."""
        self._transport.write(ANSWER)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
