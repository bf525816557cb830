"""Webhooks: the addresses that are allowed, and the signature."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from gateway.webhooks.addresses import is_refused
from gateway.webhooks.allow_list import AllowList
from gateway.webhooks.signature import SecretsRejected, read_secrets, signature

LIST = AllowList(["hooks.example.com", "hooks.example.com:8443", "*.example.org"])


@pytest.mark.parametrize(
    ("address", "named"),
    [
        pytest.param("https://hooks.example.com", True, id="named"),
        pytest.param("https://hooks.example.com:443/a?b=c", True, id="with-its-port"),
        pytest.param("https://HOOKS.example.com:8443/a", True, id="at-another-port"),
        pytest.param("https://a.b.example.org/", False, id="below"),
    ],
)
def test_allowed_addresses(address: str, named: bool) -> None:
    assert LIST.refusal(address) is None
    assert LIST.names(httpx.URL(address)) == named


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("http://hooks.example.com/", id="no-tls"),
        pytest.param("https://hooks.example.com:444/", id="another-port"),
        pytest.param("https://a.example.org:8443/", id="another-port-below"),
        pytest.param("https://example.org/", id="not-below"),
        pytest.param("https://badexample.org/", id="same-end"),
        pytest.param("https://hooks.example.com.evil.org/", id="same-start"),
        pytest.param("https://hooks.example.com@evil.org/", id="as-a-user"),
        pytest.param("https://evil.org\\@hooks.example.com/", id="backslash"),
        pytest.param("https://user:pass@hooks.example.com/", id="with-a-user"),
        pytest.param("https://hooks.example.com/#part", id="fragment"),
        pytest.param("https://hooks.example.com./", id="dot-at-the-end"),
        pytest.param("https://hooks.example.com/é", id="no-ascii"),
        pytest.param("https://hooks.example.com/\n", id="line-break"),
        pytest.param("https://hooks.example.com/" + "x" * 2000, id="long"),
        pytest.param("https://127.0.0.1/", id="address"),
        pytest.param("https://[::1]/", id="address-6"),
        pytest.param("https://", id="nothing"),
        pytest.param("", id="empty"),
    ],
)
def test_other_addresses_are_refused_and_the_reason_names_the_hosts(address: str) -> None:
    refusal = LIST.refusal(address)

    assert refusal is not None
    assert "hooks.example.com:8443" in refusal


def test_without_allowed_hosts_there_are_no_webhooks() -> None:
    assert AllowList([]).refusal("https://hooks.example.com/") == "expected none, since this gateway sends no webhooks"


@pytest.mark.parametrize(
    ("address", "of_a_host_below", "of_a_named_host"),
    [
        pytest.param("93.184.216.34", False, False, id="public"),
        pytest.param("2606:2800:220:1::1", False, False, id="public-6"),
        pytest.param("10.0.0.1", True, False, id="private"),
        pytest.param("100.64.0.1", True, False, id="carrier"),
        pytest.param("127.0.0.1", True, False, id="loopback"),
        pytest.param("::1", True, False, id="loopback-6"),
        pytest.param("fd00::1", True, False, id="private-6"),
        pytest.param("::ffff:10.0.0.1", True, False, id="private-in-6"),
        pytest.param("64:ff9b::a00:1", True, False, id="private-behind-a-translator"),
        pytest.param("169.254.169.254", True, True, id="metadata-of-a-cloud"),
        pytest.param("::ffff:169.254.169.254", True, True, id="metadata-in-6"),
        pytest.param("fe80::1", True, True, id="link-local"),
        pytest.param("0.0.0.0", True, True, id="unspecified"),
        pytest.param("224.0.0.1", True, True, id="multicast"),
    ],
)
def test_addresses_inside_a_network_are_only_for_hosts_that_are_named(
    address: str, of_a_host_below: bool, of_a_named_host: bool
) -> None:
    assert is_refused(ip_address(address), named=False) == of_a_host_below
    assert is_refused(ip_address(address), named=True) == of_a_named_host


def test_a_receiver_with_the_old_or_the_new_secret_trusts_the_signature(tmp_path: Path) -> None:
    lines = [f"whsec_{base64.b64encode(bytes([at]) * 32).decode()}" for at in (1, 2)]
    (tmp_path / "secrets").write_text("\n".join(lines) + "\n")
    body, now = json.dumps({"type": "prediction.success"}).encode(), int(datetime.now(UTC).timestamp())
    signed = signature(read_secrets(tmp_path / "secrets"), webhook_id="task", timestamp=now, body=body)
    headers = {"webhook-id": "task", "webhook-timestamp": str(now), "webhook-signature": signed}

    for line in lines:
        assert Webhook(line).verify(body.decode(), headers) == {"type": "prediction.success"}


@pytest.mark.parametrize("content", ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%"])
def test_a_wrong_secret_is_refused_without_showing_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "secrets").write_text(content)

    with pytest.raises(SecretsRejected, match="expected in each line whsec_ and 24 to 64 bytes") as raised:
        read_secrets(tmp_path / "secrets")
    assert "c2hvcnQ" not in str(raised.value)
