"""An API server asked by many coroutines at once: documents in and out, and watches. Of benchmarks only."""

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
LONGEST_LINE = 2**22  # bytes of an event
TIME_LIMIT = aiohttp.ClientTimeout(total=60)


class Refused(Exception):
    """The API server's answer was not the one that was asked for."""

    def __init__(self, what: str, status: int, text: str) -> None:
        super().__init__(f"{what}: {status} {text[:300]}")
        self.status = status


class Api:
    """The API server of the kubeconfig, with all rights that it gives."""

    def __init__(self, session: aiohttp.ClientSession, configuration: Configuration, tls: ssl.SSLContext) -> None:
        self._session = session
        self._tls = tls
        self.url: str = configuration.host
        self.ca_file = str(configuration.ssl_ca_cert)

    @classmethod
    @asynccontextmanager
    async def opened(cls) -> AsyncIterator[Self]:
        """Connect with the client certificate or the token that the kubeconfig holds."""
        configuration = Configuration()
        kubeconfig.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
        token = configuration.api_key.get("authorization") or configuration.api_key.get("BearerToken")
        headers = {"Authorization": token} if token else {}
        connector = aiohttp.TCPConnector(limit=64)
        async with aiohttp.ClientSession(connector=connector, headers=headers, read_bufsize=LONGEST_LINE) as session:
            yield cls(session, configuration, tls)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 443

    async def text(self, path: str) -> str:
        """What is no document, such as /metrics."""
        async with self._session.get(self.url + path, ssl=self._tls, timeout=TIME_LIMIT) as answer:
            return await answer.text()

    async def call(self, verb: str, path: str, body: Document | None = None, *, content: str = "application/json") -> Document:
        """The answer's document. Raises Refused."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": content}
        async with self._session.request(
            verb, self.url + path, data=data, headers=headers, ssl=self._tls, timeout=TIME_LIMIT
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise Refused(f"{verb} {path}", answer.status, text)
            found: Document = json.loads(text)
            return found

    async def watch(self, path: str) -> AsyncIterator[Document]:
        """Events, first of all that is there, without end; after a lost connection all that is there once more."""
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
