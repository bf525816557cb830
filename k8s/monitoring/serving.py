"""The dashboard Serving: traffic, errors, latency and load of the predictors, by version."""

from __future__ import annotations

from k8s.monitoring.panels import Link, Panel, Query

UID, TITLE = "labelwright-serving", "Labelwright / Serving"
SOURCE = "labelwright_model_info"
HERE = 'namespace=~"$namespace"'
NAME = "{{classifier}} {{version}}"
CLASSIFIERS = Link("Classifiers", "labelwright-classifiers")
PLATFORM = Link("Platform", "labelwright-platform")
# HTTP and gRPC statuses that are the server's fault.
ERRORS = "5..|INTERNAL|UNAVAILABLE|UNKNOWN|DEADLINE_EXCEEDED"


def by_version(value: str, *, function: str = "sum", by: str = "classifier, version") -> str:
    """An expression of each Pod, by what it serves."""
    served = f'labelwright_model_info{{{HERE}, classifier=~"$classifier", version=~"$version"}}'
    return f"{function} by ({by}) ({value} * on (namespace, pod, instance) group_left (classifier, version) {served})"


def rate(name: str, matchers: str = "") -> str:
    """The rate of a counter of the predictor."""
    return f"rate(labelwright_predictor_{name}{{{HERE}{matchers}}}[$__rate_interval])"


def quantile(share: float, name: str) -> str:
    """A quantile of a histogram of the predictor."""
    return f"histogram_quantile({share}, {by_version(rate(f'{name}_bucket'), by='classifier, version, le')})"


def share(part: str, whole: str) -> str:
    """The share of one counter in another."""
    return f"{by_version(rate(part))} / {by_version(rate(whole))}"


ANSWERED = by_version(rate("requests_total"))
FAILED = by_version(rate("requests_total", f', code=~"{ERRORS}"'))
TRAFFIC = (
    Panel(
        "Requests",
        "Requests answered a second, by version.",
        "reqps",
        (Query(ANSWERED, NAME),),
        CLASSIFIERS,
    ),
    Panel(
        "Errors",
        "Share of requests that failed by a fault of the server. See the runbook LabelwrightErrorRate.",
        "percentunit",
        (Query(f"({FAILED} or 0 * {ANSWERED}) / {ANSWERED}", NAME),),
        PLATFORM,
        maximum=1,
    ),
    Panel(
        "Answers by status",
        "Requests answered a second, by protocol and HTTP or gRPC status.",
        "reqps",
        (Query(by_version(rate("requests_total"), by="protocol, code"), "{{protocol}} {{code}}"),),
        PLATFORM,
    ),
    Panel(
        "Latency",
        "Time from a request's arrival to its answer: median, 90th and 99th percentile. See the runbook LabelwrightLatency.",
        "s",
        tuple(Query(quantile(each, "request_seconds"), f"p{each * 100:g} {NAME}") for each in (0.5, 0.9, 0.99)),
        PLATFORM,
    ),
    Panel(
        "Time in the queue",
        "Time that requests wait until their first text is computed: median and 99th percentile.",
        "s",
        tuple(Query(quantile(each, "queue_seconds"), f"p{each * 100:g} {NAME}") for each in (0.5, 0.99)),
        PLATFORM,
    ),
    Panel(
        "Texts",
        "Texts classified a second, by version.",
        "cps",
        (Query(by_version(rate("texts_total")), NAME),),
        CLASSIFIERS,
    ),
)

LOAD = (
    Panel(
        "Queue",
        "Filled share of the queue, in the fullest Pod. At 100 % requests are refused. See the runbook LabelwrightQueueFull.",
        "percentunit",
        (
            Query(
                by_version(
                    f"(labelwright_predictor_queue_texts{{{HERE}}} / labelwright_predictor_queue_capacity_texts{{{HERE}}})",
                    function="max",
                ),
                NAME,
            ),
        ),
        PLATFORM,
        maximum=1,
    ),
    Panel(
        "Refused requests",
        "Requests a second that found the queue full.",
        "reqps",
        (Query(by_version(rate("refused_requests_total")), NAME),),
        PLATFORM,
    ),
    Panel(
        "Busy threads",
        "Share of the time that the computing threads compute. Near 100 %, more replicas help.",
        "percentunit",
        (
            Query(
                f"{by_version(rate('inference_seconds_sum'))} / {by_version(f'labelwright_predictor_threads{{{HERE}}}')}",
                NAME,
            ),
        ),
        PLATFORM,
        maximum=1,
    ),
    Panel(
        "Batch size",
        "Mean number of texts that are computed together.",
        "short",
        (Query(share("batch_texts_sum", "batch_texts_count"), NAME),),
        PLATFORM,
    ),
    Panel(
        "Memory",
        "Resident memory of the servers, of each Pod.",
        "bytes",
        (
            Query(
                by_version(f"process_resident_memory_bytes{{{HERE}}}", by="classifier, version, pod"),
                "{{pod}}",
            ),
        ),
        PLATFORM,
    ),
    Panel(
        "CPU",
        "Cores that the servers use, by version.",
        "short",
        (Query(by_version(f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])"), NAME),),
        PLATFORM,
    ),
)

TEXTS = (
    Panel(
        "Drift",
        "Population stability index of labels, and of lengths, against the test part. See the runbook LabelwrightDrift.",
        "short",
        (
            Query(by_version(f"labelwright_drift_label_psi{{{HERE}}}", function="max"), f"labels {NAME}"),
            Query(by_version(f"labelwright_drift_token_length_psi{{{HERE}}}", function="max"), f"lengths {NAME}"),
        ),
        CLASSIFIERS,
    ),
    Panel(
        "Unusual texts",
        "Share of texts that were truncated, and of texts for which no label reached its threshold.",
        "percentunit",
        (
            Query(share("truncated_texts_total", "texts_total"), f"truncated {NAME}"),
            Query(share("below_threshold_texts_total", "texts_total"), f"no label {NAME}"),
        ),
        CLASSIFIERS,
        maximum=1,
    ),
    Panel(
        "Labels",
        "The ten labels that are given most often.",
        "cps",
        (Query(f"topk(10, {by_version(rate('predicted_labels_total'), by='classifier, label')})", "{{classifier}} {{label}}"),),
        CLASSIFIERS,
    ),
)
PANELS = (*TRAFFIC, *LOAD, *TEXTS)
