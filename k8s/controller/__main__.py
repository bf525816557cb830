"""Command line of the controller: `python -m k8s.controller`."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from typing import Any

import click
from pydantic import ValidationError

from k8s.controller.api.v1alpha1 import ResourcesSpec
from k8s.controller.builders.training_job import Images
from k8s.controller.clients.kubernetes import ClusterError, from_environment
from k8s.controller.clients.prometheus import GATEWAY_JOB, Prometheus
from k8s.controller.decisions.tenancy import Policy
from k8s.controller.manager import Controller
from k8s.controller.objects.ports import CONTROLLER_METRICS_PORT
from k8s.controller.runtime import logs
from k8s.controller.runtime.leader import LeaderCandidate, Lease, lead
from model.escaping import PrintableErrors

LEASE = "labelwright-controller"


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: str, *_: Any) -> tuple[str, ...]:
        return tuple(each.strip() for each in value.split(",") if each.strip())


class Resources(click.ParamType[ResourcesSpec]):
    """Requests and limits of a container, as JSON."""

    name = "json"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> ResourcesSpec:
        try:
            return ResourcesSpec.model_validate_json(value)
        except ValidationError as error:
            self.fail(f'{value!r}: {error.errors()[0]["msg"]}; expected JSON such as {{"limits": {{"cpu": "1"}}}}', param, ctx)


@click.command(
    cls=PrintableErrors, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LABELWRIGHT_CONTROLLER"}
)
@click.option("--trainer-image", required=True, help="Image of the Pods that train, check datasets and delete versions.")
@click.option("--predictor-image", required=True, help="Image of the Pods that serve.")
@click.option("--pull-policy", default="IfNotPresent", show_default=True, help="Pull policy of both images.")
@click.option("--namespace", "namespaces", multiple=True, help="Namespace to watch. Can be given several times.")
@click.option("--all-namespaces", is_flag=True, help="Watch all namespaces.")
@click.option(
    "--prometheus-url",
    help="Prometheus with the series of drift and corrections, such as http://host:9090. Without it, neither starts a training.",
)
@click.option(
    "--prometheus-gateway-job",
    default=GATEWAY_JOB,
    show_default=True,
    help="Regular expression for the label `job` of the gateway, which counts corrections. Series of other jobs are ignored.",
)
@click.option(
    "--allowed-secrets",
    type=Names(),
    help="Secrets that TextClassifiers may use, separated by commas. A * at the end matches any ending. Default: all.",
)
@click.option(
    "--allowed-service-accounts",
    type=Names(),
    help="ServiceAccounts that TextClassifiers may use, separated by commas. A * at the end matches any ending. Default: all.",
)
@click.option(
    "--placement/--no-placement",
    default=True,
    show_default=True,
    help="Whether TextClassifiers may set nodeSelector and tolerations.",
)
@click.option("--training-resources", type=Resources(), help="Requests and limits of trainings whose spec has none, as JSON.")
@click.option(
    "--job-resources", type=Resources(), help="Requests and limits of the Jobs that check datasets or delete versions, as JSON."
)
@click.option(
    "--metrics-port",
    type=int,
    default=CONTROLLER_METRICS_PORT,
    show_default=True,
    help="Port of /metrics, /healthz and /targets, which Prometheus asks for the Pods to scrape.",
)
@click.option(
    "--leader-election-namespace",
    help="Namespace of the Lease with which replicas elect a leader. Without it, there is no election.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the log on standard error.",
)
@click.option(
    "--threads", type=click.IntRange(1, 64), default=2, show_default=True, help="Number of objects to reconcile in parallel."
)
def main(
    namespaces: tuple[str, ...], *, all_namespaces: bool, leader_election_namespace: str | None, log_format: str, **options: Any
) -> None:
    """Train, evaluate and serve every TextClassifier.

    Connects to the API server of the cluster that it runs in, or outside of a cluster to that of the kubeconfig. Each option
    can also be an environment variable, such as LABELWRIGHT_CONTROLLER_TRAINER_IMAGE.
    """
    if all_namespaces == bool(namespaces):
        raise click.UsageError("expected --namespace NAME, once or several times, or --all-namespaces")
    logs.configure(log_format)
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    given = {name: options[name] for name in ("training_resources", "job_resources") if options[name] is not None}
    images = Images(options["trainer_image"], options["predictor_image"], options["pull_policy"], **given)
    policy = Policy(options["allowed_secrets"], options["allowed_service_accounts"], options["placement"])
    try:
        cluster = from_environment(threads=options["threads"] + 2)  # and one each for events and /targets
        url, gateway = options["prometheus_url"], options["prometheus_gateway_job"]
        measurements = Prometheus(url, gateway=gateway) if url else None
        controller = Controller(cluster, images, policy, measurements=measurements, threads=options["threads"])
        with controller.telling(options["metrics_port"], namespaces):
            if leader_election_namespace is None:
                return controller.work(namespaces, stop)
            # Connections of its own with a short time limit: one call that hangs must not use up the lease's deadline.
            candidate = LeaderCandidate(
                from_environment(threads=2, time_limit=3.0), Lease(leader_election_namespace, LEASE, _holder())
            )
            lead(candidate, on_started=lambda: controller.work(namespaces, stop), on_lost=lambda: os._exit(1), stop=stop)
    except (ClusterError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    return None


def _holder() -> str:
    """Return an identity that is unique for each process: the Pod's name, for people, and random digits."""
    return f"{os.uname().nodename}-{uuid.uuid4().hex[:6]}"


if __name__ == "__main__":
    main()
