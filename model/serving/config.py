"""Settings of the server, read once from the command line. The environment has none."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import Field, field_validator

from model.cores import usable_cores
from model.fields import Sha256, Strict

EVERY_ADDRESS = "::"  # all IPv6 and IPv4 addresses; only IPv4 if the kernel has no IPv6


class ServingConfig(Strict):
    """Settings of the server of one version."""

    version: str = Field(min_length=1, description="path or URI of the version; one at s3:// is downloaded first")
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$",
        description="name of the model, part of every request path; None: the manifest's classifier",
    )
    manifest_sha256: Sha256 | None = Field(default=None, description="of manifest.json; a version with another one is refused")
    host: str = Field(default=EVERY_ADDRESS, description="IP address to listen on; by default all, as containers need")
    port: int = Field(default=8080, ge=0, le=65535, description="REST port, by default KServe's; 0: any free port")
    grpc_port: int = Field(default=8081, ge=0, le=65535, description="gRPC port, by default KServe's; 0: any free port")
    threads: int = Field(default_factory=usable_cores, ge=1, description="inference threads, one core each")
    queue_texts: int = Field(default=2048, ge=1, description="texts that may wait; further requests get status 429")
    max_texts: int = Field(default=1024, ge=1, description="texts per request")
    max_characters: int = Field(default=1_000_000, ge=1, description="characters per text")
    max_request_characters: int = Field(
        default=4_000_000, ge=1, description="characters per request, all texts together; bounds its memory and its work"
    )
    max_connections: int = Field(
        default=16_384, ge=8, description="REST connections; fewer if the process may not open this many files"
    )
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, description="bytes per request over REST; over gRPC at most 8 MiB")
    grace_seconds: float = Field(default=20, ge=0, description="time for requests in flight when stopping")

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise ValueError("expected an IP address, such as 127.0.0.1 or ::1") from error
