"""What can be set when serving, read once at the entry. Nothing here is read from the environment."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import Field, field_validator

from model.cores import usable_cores
from model.manifest import Sha256, Strict

EVERY_ADDRESS = "::"  # of IPv4 too; of it alone where the kernel has no IPv6


class ServingConfig(Strict):
    """How one version is served."""

    version: str = Field(min_length=1, description="path or URI of the version; s3:// is fetched first")
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][-A-Za-z0-9_.]*$",
        description="a part of every address; None: the manifest's classifier",
    )
    manifest_sha256: Sha256 | None = Field(default=None, description="of the manifest that was published; another one is refused")
    host: str = Field(default=EVERY_ADDRESS, description="IP address to listen on; every one, as a container must")
    port: int = Field(default=8080, ge=0, le=65535, description="REST port, KServe's default; 0 takes a free one")
    grpc_port: int = Field(default=8081, ge=0, le=65535, description="gRPC port, KServe's default; 0 takes a free one")
    threads: int = Field(default_factory=usable_cores, ge=1, description="requests computed at a time, a core each")
    queue_texts: int = Field(default=2048, ge=1, description="texts that may wait; requests beyond are told to come back")
    max_texts: int = Field(default=1024, ge=1, description="texts in one request")
    max_characters: int = Field(default=1_000_000, ge=1, description="characters in one text")
    max_request_characters: int = Field(
        default=4_000_000, ge=1, description="characters in all texts of one request; bounds its memory and its work"
    )
    max_connections: int = Field(
        default=16_384, ge=8, description="REST clients at a time; less where the process may not open so many files"
    )
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, description="of one request over REST; over gRPC 8 MiB at most")
    grace_seconds: float = Field(default=20, ge=0, description="for what is asked already, at the end")

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        try:
            return str(ip_address(host))
        except ValueError as error:
            raise ValueError("expected an IP address, such as 127.0.0.1 or ::1") from error
