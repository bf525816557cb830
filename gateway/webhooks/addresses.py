"""Connections to receivers of webhooks: resolve a name once, check its addresses, and connect to one of them.

So a host that only a `*.` entry allows cannot lead to a private address, even if its name resolves differently a moment later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore

MOST_ATTEMPTS = 2  # addresses of one name
NAT64 = IPv6Network("64:ff9b::/96")  # contains every IPv4 address

Address = IPv4Address | IPv6Address


class AddressRefused(Exception):
    """A name has an address to which no webhook may go."""


def is_refused(address: Address, *, named: bool) -> bool:
    """Return whether no webhook may go to this address. named: the allow-list names the host itself.

    A link-local address is always refused, because clouds serve their metadata there, with credentials.
    """
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return True
    return not named and (not address.is_global or (isinstance(address, IPv6Address) and address in NAT64))


class CheckedNetwork(httpcore.SyncBackend):
    """Network backend of the HTTP client. is_named: whether the allow-list names a host itself at this port."""

    def __init__(self, is_named: Callable[[str, int], bool]) -> None:
        super().__init__()
        self._is_named = is_named

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to one of the host's addresses. Raises AddressRefused if any is refused."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: a part of the name is too long
            raise httpcore.ConnectError(f"{host} has no address") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        named = self._is_named(host, port)
        if any(is_refused(ip_address(each), named=named) for each in addresses):
            raise AddressRefused(f"{host} has an address to which no webhook may go")
        *others, last = addresses[:MOST_ATTEMPTS]
        for address in others:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return super().connect_tcp(last, port, timeout, local_address, socket_options)
