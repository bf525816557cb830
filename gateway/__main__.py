"""`python -m gateway`: the command `labelwright gateway`, for the gateway's image, which has no other command."""

from __future__ import annotations

from gateway.command import gateway

gateway(prog_name="python -m gateway")
