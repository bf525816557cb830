"""Command `labelwright serve`, also `python -m model.serving`: its options.

Imports little: signals are handled before the other imports, which take a second or more.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from model.escaping import PrintableErrors
from model.serving.signals import end_at_once

# The second spellings are those of KServe's own runtimes.


@click.command(name="serve", cls=PrintableErrors)
@click.argument("version", required=False)
@click.option("--model_dir", help="Same as VERSION; the spelling of KServe's runtimes.")
@click.option("--name", "--model_name", "name", help="Name of the model in requests. [default: the classifier's name]")
@click.option(
    "--manifest-sha256",
    "--manifest_sha256",
    "manifest_sha256",
    metavar="DIGEST",
    help="Refuse the version unless its manifest.json has this SHA-256. [default: accept any]",
)
@click.option("--host", help="IP address to listen on. [default: all, IPv4 and IPv6]")
@click.option("--port", "--http_port", "port", type=int, help="REST port; 0: any free port. [default: 8080]")
@click.option("--grpc-port", "--grpc_port", "grpc_port", type=int, help="gRPC port; 0: any free port. [default: 8081]")
@click.option("--threads", type=int, help="Inference threads. [default: the CPU cores, or the container's CPU limit]")
@click.option("--queue-texts", type=int, help="Texts that may wait; further requests get status 429. [default: 2048]")
@click.option("--max-texts", type=int, help="Maximum texts per request. [default: 1024]")
@click.option("--max-characters", type=int, help="Maximum characters per text. [default: 1000000]")
@click.option("--max-request-characters", type=int, help="Maximum characters per request, all texts together. [default: 4000000]")
@click.option(
    "--max-connections", type=int, help="Maximum REST connections; beyond it, stalled ones are closed. [default: 16384]"
)
@click.option("--max-body-bytes", type=int, help="Maximum bytes per request. [default: 16777216]")
@click.option("--grace-seconds", type=float, help="Seconds for requests in flight when stopping. [default: 20]")
def command(**options: str | float | None) -> None:
    """Serve the version at VERSION (a folder, file:// or s3://) over REST and gRPC.

    On SIGTERM, answers the requests in flight, then stops.
    """
    end_at_once()
    from model.serving.start import start

    start(options)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with these arguments; by default, with those of the process."""
    command.main(args=None if argv is None else list(argv), prog_name="python -m model.serving")


if __name__ == "__main__":
    main()
