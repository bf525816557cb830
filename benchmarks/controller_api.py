"""Asynchronous client of the API server, for many requests and watches at once. Only for benchmarks."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from kubernetes import config as kubeconfig
from kubernetes.client.configuration import Configuration

Document = dict[str, Any]
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
MAX_EVENT_BYTES = 2**22
TIME_LIMIT = aiohttp.ClientTimeout(total=60)


class ApiError(Exception):
    """The API server responded with an error."""

    def __init__(self, what: str, status: int, text: str) -> None:
        super().__init__(f"{what}: {status} {text[:300]}")
        self.status = status


class Api:
    """Client of the kubeconfig's API server, with all rights of the kubeconfig."""

    def __init__(self, session: aiohttp.ClientSession, configuration: Configuration, tls: ssl.SSLContext) -> None:
        self._session = session
        self._tls = tls
        self.url: str = configuration.host
        self.ca_file = str(configuration.ssl_ca_cert)

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncIterator[Self]:
        """Connect with the kubeconfig's client certificate or token."""
        configuration = Configuration()
        kubeconfig.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
        token = configuration.api_key.get("authorization") or configuration.api_key.get("BearerToken")
        headers = {"Authorization": token} if token else {}
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=MAX_EVENT_BYTES) as session:
            yield cls(session, configuration, tls)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port of the API server."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 443

    async def text(self, path: str) -> str:
        """Return a response that is no document, such as /metrics."""
        async with self._session.get(self.url + path, ssl=self._tls, timeout=TIME_LIMIT) as answer:
            return await answer.text()

    async def call(self, verb: str, path: str, body: Document | None = None, *, content: str = "application/json") -> Document:
        """Send a request and return the document of the response. Raises ApiError."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content}
        async with self._session.request(
            verb, self.url + path, data=data, headers=headers, ssl=self._tls, timeout=TIME_LIMIT
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ApiError(f"{verb} {path}", answer.status, text)
            document: Document = json.loads(text)
            return document

    async def watch(self, path: str) -> AsyncIterator[Document]:
        """Yield events without end, first of all existing objects; after a lost connection, of all existing objects again."""
        while True:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            try:
                async with self._session.get(
                    f"{self.url}{path}?watch=1&timeoutSeconds=3600", ssl=self._tls, timeout=timeout
                ) as answer:
                    async for line in answer.content:
                        yield json.loads(line)
            except aiohttp.ClientError:
                await asyncio.sleep(1)
