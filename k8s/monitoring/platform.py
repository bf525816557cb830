"""The dashboard Platform: the components of the release, above all the controller."""

from __future__ import annotations

from k8s.monitoring.panels import Link, Panel, Query

UID, TITLE = "labelwright-platform", "Labelwright / Platform"
SOURCE = "labelwright_controller_queue_keys"
# The release's own namespace. Not `namespace`, which links between the other dashboards hand on.
RELEASE = 'namespace=~"$home", release=~"$release"'
COMPONENTS = f'job=~"labelwright-.+", {RELEASE}'
CLASSIFIERS = Link("Classifiers", "labelwright-classifiers")
ADDRESS = "{{job}} {{instance}}"  # legend
SERVING = Link("Serving", "labelwright-serving")
TRAINING = Link("Training", "labelwright-training")


def rate(name: str) -> str:
    """The rate of a counter of the controller."""
    return f"rate(labelwright_controller_{name}{{{RELEASE}}}[$__rate_interval])"


def quantile(share: float) -> str:
    """A quantile of the duration of reconciliations."""
    return f"histogram_quantile({share}, sum by (kind, le) ({rate('reconcile_seconds_bucket')}))"


PANELS = (
    Panel(
        "Components that answer",
        "1 for each address of the release that Prometheus can scrape, else 0.",
        "short",
        (Query(f"min by (job, instance) (up{{{COMPONENTS}}})", ADDRESS),),
        CLASSIFIERS,
        maximum=1,
    ),
    Panel(
        "Restarts",
        "Restarts of the processes in the selected time, by their address.",
        "short",
        (Query(f"max by (job, instance) (changes(process_start_time_seconds{{{COMPONENTS}}}[$__range]))", ADDRESS),),
        CLASSIFIERS,
        kind="numbers",
    ),
    Panel(
        "Classifiers by state",
        "Number of classifiers in each state, of all namespaces that this Prometheus knows.",
        "short",
        (Query("count by (state) (max by (namespace, classifier, state) (labelwright_classifier_state))", "{{state}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Reconciliations",
        "Reconciliations a second, by the kind of object.",
        "ops",
        (Query(f"sum by (kind) ({rate('reconcile_seconds_count')})", "{{kind}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Duration of reconciliations",
        "Median and 99th percentile, by the kind of object. They wait mostly for the API server and KServe.",
        "s",
        (Query(quantile(0.5), "p50 {{kind}}"), Query(quantile(0.99), "p99 {{kind}}")),
        CLASSIFIERS,
    ),
    Panel(
        "Waiting objects",
        "Objects that wait for a reconciliation. See the runbook LabelwrightControllerNotReconciling.",
        "short",
        (Query(f"sum(labelwright_controller_queue_keys{{{RELEASE}}})", "waiting"),),
        CLASSIFIERS,
    ),
    Panel(
        "Failed reconciliations",
        "conflict and unavailable pass by themselves; refused needs a change of a spec or a quota; fault is a bug.",
        "ops",
        (Query(f"sum by (kind, reason) ({rate('reconcile_errors_total')})", "{{kind}} {{reason}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Trainings without a storage",
        "Attempts of current trainings that found no storage. See the runbook LabelwrightStorageUnreachable.",
        "short",
        (
            Query(
                "sum by (namespace) (max by (namespace, classifier) (labelwright_training_storage_errors))",
                "{{namespace}}",
            ),
        ),
        TRAINING,
    ),
    Panel(
        "Servers and trainers that answer",
        "Pods of classifiers that Prometheus can scrape, by namespace.",
        "short",
        (Query('sum by (job, namespace) (up{job=~"labelwright-(predictor|trainer)"})', "{{job}} {{namespace}}"),),
        SERVING,
    ),
    Panel(
        "Memory",
        "Resident memory of the components.",
        "bytes",
        (Query(f"max by (job, instance) (process_resident_memory_bytes{{{COMPONENTS}}})", ADDRESS),),
        CLASSIFIERS,
        width=12,
    ),
    Panel(
        "CPU",
        "Cores that the components use.",
        "short",
        (
            Query(
                f"sum by (job, instance) (rate(process_cpu_seconds_total{{{COMPONENTS}}}[$__rate_interval]))",
                ADDRESS,
            ),
        ),
        CLASSIFIERS,
        width=12,
    ),
)
