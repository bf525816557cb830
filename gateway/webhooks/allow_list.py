"""Hosts to which webhooks may go. Entries of the setting `webhook_hosts`:

`hooks.example.com`       this host at port 443; its addresses may be private, because the entry names it
`hooks.example.com:8443`  this host at this port
`*.example.com`           every host below example.com at port 443, if its addresses are public
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

HTTPS_PORT = 443
MAX_CHARACTERS = 2000  # of an address


class AllowList:
    """Allow-list of hosts. entries: as above."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._entries = tuple(entries)
        pairs = [each.partition(":") for each in entries]
        allowed = {(name, int(port or HTTPS_PORT)) for name, _, port in pairs}
        self._named = {(name, port) for name, port in allowed if not name.startswith("*.")}
        self._below = {(name.removeprefix("*"), port) for name, port in allowed - self._named}

    def refusal(self, address: str) -> str | None:
        """Return what was expected instead, if this address is not allowed; None if it is."""
        if not self._entries:
            return "expected none, since this gateway sends no webhooks"
        expected = f"expected an https address at {', '.join(self._entries)}"
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, ValueError):
            return expected
        if len(address) > MAX_CHARACTERS or not address.isascii() or url.scheme != "https" or url.userinfo or url.fragment:
            return expected
        return None if self.names(url) or self._has_below(url) else expected

    def names(self, url: httpx.URL) -> bool:
        """Return whether the list names the host itself, so that its addresses may be private."""
        return (url.host, url.port or HTTPS_PORT) in self._named

    def _has_below(self, url: httpx.URL) -> bool:
        return any(url.host.endswith(suffix) and (url.port or HTTPS_PORT) == port for suffix, port in self._below)
