"""The command `labelwright serve`, which is `python -m model.serving` too: its options.

Imports little, so that signals are seen to before the second or more that the other imports take.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from model.printable import PrintableErrors
from model.serving.signals import end_at_once

# Second spellings are those that KServe's own runtimes pass.


@click.command(name="serve", cls=PrintableErrors)
@click.argument("version", required=False)
@click.option("--model_dir", help="VERSION, as KServe's runtimes spell it.")
@click.option("--name", "--model_name", "name", help="Name to serve under. [default: the classifier's]")
@click.option(
    "--manifest-sha256",
    "--manifest_sha256",
    "manifest_sha256",
    metavar="DIGEST",
    help="Refuse a version whose manifest.json has another SHA-256. [default: take any]",
)
@click.option("--host", help="IP address to listen on. [default: all, of IPv4 and IPv6]")
@click.option("--port", "--http_port", "port", type=int, help="REST port; 0 takes a free one. [default: 8080]")
@click.option("--grpc-port", "--grpc_port", "grpc_port", type=int, help="gRPC port; 0 takes a free one. [default: 8081]")
@click.option("--threads", type=int, help="Threads that compute. [default: the cores, or the container's CPU limit]")
@click.option("--queue-texts", type=int, help="Texts that may wait; beyond, requests get 429. [default: 2048]")
@click.option("--max-texts", type=int, help="Texts in one request. [default: 1024]")
@click.option("--max-characters", type=int, help="Characters in one text. [default: 1000000]")
@click.option("--max-request-characters", type=int, help="Characters in all texts of one request. [default: 4000000]")
@click.option("--max-connections", type=int, help="REST clients at a time; those that stall go first. [default: 16384]")
@click.option("--max-body-bytes", type=int, help="Bytes of one request. [default: 16777216]")
@click.option("--grace-seconds", type=float, help="For what is asked already, when stopping. [default: 20]")
def command(**options: str | float | None) -> None:
    """Answer with the published version at VERSION, a path or an address (file://, s3://).

    Stops on SIGTERM once the requests in flight are answered.
    """
    end_at_once()
    from model.serving.start import start

    start(options)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, the process's own by default."""
    command.main(args=None if argv is None else list(argv), prog_name="python -m model.serving")


if __name__ == "__main__":
    main()
