"""Sender of one webhook: a signed POST over TLS, without redirects and without a proxy."""

from __future__ import annotations

import time
from collections.abc import Sequence

import httpcore
import httpx

from gateway.webhooks.addresses import AddressRefused, CheckedNetwork
from gateway.webhooks.allow_list import HTTPS_PORT, AllowList
from gateway.webhooks.signature import signature

TIMEOUT_SECONDS = {"connect": 5.0, "read": 10.0, "write": 10.0, "pool": 10.0}
GONE = 410  # the receiver wants no webhooks of this kind


class NotDelivered(Exception):
    """The receiver did not accept the webhook, but may accept it later."""


class Unwanted(Exception):
    """The webhook is given up: its address is not allowed any more, or the receiver answers 410."""


class Sender:
    """Sender, for threads. secrets: signing secrets."""

    def __init__(self, allowed: AllowList, secrets: Sequence[bytes], *, connections: int) -> None:
        self._allowed = allowed
        self._secrets = tuple(secrets)
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),  # reads SSL_CERT_FILE, for a company's own authority
            max_connections=connections,
            max_keepalive_connections=0,
            network_backend=CheckedNetwork(self._is_named),
        )

    def send(self, address: str, *, webhook_id: str, body: bytes) -> None:
        """Send the webhook, and return when the receiver has accepted it. Raises NotDelivered, Unwanted."""
        if refusal := self._allowed.refusal(address):
            raise Unwanted(refusal)
        url, now = httpx.URL(address), int(time.time())
        headers: dict[bytes | str, bytes | str] = {
            "Host": url.netloc.decode(),
            "Content-Type": "application/json",
            "User-Agent": "labelwright-gateway",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._secrets, webhook_id=webhook_id, timestamp=now, body=body),
        }
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port or HTTPS_PORT, target=url.raw_path)
        try:
            # The body of the response is not used, so it is not read.
            with self._pool.stream(
                "POST", target, headers=headers, content=body, extensions={"timeout": TIMEOUT_SECONDS}
            ) as response:
                status = response.status
        except AddressRefused as error:
            raise NotDelivered(str(error)) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise NotDelivered(f"{url.host}: {type(error).__name__} {error}") from error
        if status == GONE:
            raise Unwanted(f"{url.host} answers 410")
        if not 200 <= status < 300:
            raise NotDelivered(f"{url.host} answers {status}")

    def _is_named(self, host: str, port: int) -> bool:
        return self._allowed.names(httpx.URL(scheme="https", host=host, port=port))
