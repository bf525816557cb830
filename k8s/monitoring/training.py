"""The dashboard Training: how trainings that are under way come on."""

from __future__ import annotations

from k8s.monitoring.panels import Link, Panel, Query

UID, TITLE = "labelwright-training", "Labelwright / Training"
SOURCE = "labelwright_training_info"
HERE = 'namespace=~"$namespace"'
CLASSIFIERS = Link("Classifiers", "labelwright-classifiers")
PLATFORM = Link("Platform", "labelwright-platform")


def of_training(value: str, *, by: str = "classifier, version") -> str:
    """An expression of each Pod, by what it trains."""
    trained = f'labelwright_training_info{{{HERE}, classifier=~"$classifier"}}'
    return f"max by ({by}) ({value} * on (namespace, pod, instance) group_left (classifier, version) {trained})"


def gauge(name: str) -> str:
    """A gauge of the trainer."""
    return of_training(f"labelwright_training_{name}{{{HERE}}}")


PANELS = (
    Panel(
        "Phase",
        "Phases of each training over time: reading, splitting, fitting, evaluating, publishing.",
        "short",
        (
            Query(
                of_training(f"(labelwright_training_phase{{{HERE}}} == 1)", by="classifier, version, phase"),
                "{{version}} {{phase}}",
            ),
        ),
        CLASSIFIERS,
        kind="states",
        width=16,
    ),
    Panel(
        "Progress",
        "Share of the optimizer steps that are made. A linear model has none.",
        "percentunit",
        (Query(f"{gauge('step')} / {gauge('steps')}", "{{version}}"),),
        CLASSIFIERS,
        maximum=1,
    ),
    Panel(
        "Loss",
        "Mean loss of a text of the training part.",
        "short",
        (Query(gauge("loss"), "{{version}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Validation score",
        "Micro-F1 and macro-F1 on the validation part, when it was last scored.",
        "percentunit",
        (
            Query(gauge("validation_micro_f1"), "micro-F1 {{version}}"),
            Query(gauge("validation_macro_f1"), "macro-F1 {{version}}"),
        ),
        CLASSIFIERS,
        maximum=1,
    ),
    Panel(
        "Throughput",
        "Texts trained on a second, without the time for evaluations.",
        "cps",
        (Query(gauge("texts_per_second"), "{{version}}"),),
        PLATFORM,
    ),
    Panel(
        "Age of the last checkpoint",
        "Work that is lost if the training is interrupted now. See the runbook LabelwrightNoCheckpoint.",
        "s",
        (Query(gauge("last_checkpoint_age_seconds"), "{{version}}"),),
        PLATFORM,
    ),
    Panel(
        "Memory",
        "Resident memory of the first process of each Pod.",
        "bytes",
        (Query(of_training(f"process_resident_memory_bytes{{{HERE}}}", by="classifier, version, pod"), "{{pod}}"),),
        PLATFORM,
    ),
    Panel(
        "CPU",
        "Cores that the first process of each Pod uses.",
        "short",
        (
            Query(
                of_training(f"rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval])", by="classifier, version, pod"),
                "{{pod}}",
            ),
        ),
        PLATFORM,
    ),
    Panel(
        "Epoch",
        "Passes over the training part.",
        "short",
        (Query(gauge("epoch"), "{{version}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Learning rate",
        "Learning rate of the encoder.",
        "sci",
        (Query(gauge("learning_rate"), "{{version}}"),),
        CLASSIFIERS,
    ),
    Panel(
        "Attempts without a storage",
        "Attempts of the current training that found no storage. See the runbook LabelwrightStorageUnreachable.",
        "short",
        (
            Query(
                f'max by (namespace, classifier) (labelwright_training_storage_errors{{{HERE}, classifier=~"$classifier"}})',
                "{{namespace}}/{{classifier}}",
            ),
        ),
        PLATFORM,
    ),
)
