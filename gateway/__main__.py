"""`python -m gateway`: the command `labelwright gateway`, in an image that has no other."""

from __future__ import annotations

from gateway.command import gateway

gateway(prog_name="python -m gateway")
