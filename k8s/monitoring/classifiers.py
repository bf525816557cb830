"""The dashboard Classifiers: how good every classifier is, what it serves, and why it was trained."""

from __future__ import annotations

from k8s.monitoring.panels import Link, Panel, Query

UID, TITLE = "labelwright-classifiers", "Labelwright / Classifiers"
SOURCE = "labelwright_classifier_state"
THESE = 'namespace=~"$namespace", classifier=~"$classifier"'
SERVING = Link("Serving", "labelwright-serving")
TRAINING = Link("Training", "labelwright-training")
PLATFORM = Link("Platform", "labelwright-platform")
NAME = "{{namespace}}/{{classifier}}"

INDEXES = "labelwright_drift_label_psi|labelwright_drift_token_length_psi"
DRIFT = f"""max by (namespace, classifier, version) (
  max by (namespace, pod, instance) ({{__name__=~"{INDEXES}", namespace=~"$namespace"}})
    * on (namespace, pod, instance) group_left (classifier, version) labelwright_model_info{{{THESE}}}
)"""


def gauge(name: str) -> str:
    """A gauge of each classifier, from whichever replica of the controller leads."""
    return f"max by (namespace, classifier) (labelwright_classifier_{name}{{{THESE}}})"


def in_the_selected_time(counter: str, label: str) -> str:
    """The increase of a counter of trainings, by this label."""
    return f"sum by ({label}) (increase(labelwright_training_{counter}_total{{{THESE}}}[$__range]))"


PANELS = (
    Panel(
        "Classifiers that answer",
        "Number of classifiers of which a version is served, and number of all.",
        "short",
        (
            Query(f"sum({gauge('ready')})", "answer"),
            Query(f"count({gauge('ready')})", "all"),
        ),
        SERVING,
        kind="numbers",
        width=6,
    ),
    Panel(
        "Trainings by outcome",
        "Trainings that ended in the selected time. Rejected and Held versions are not served.",
        "short",
        (Query(in_the_selected_time("runs", "state"), "{{state}}"),),
        TRAINING,
        kind="numbers",
        width=9,
    ),
    Panel(
        "What started trainings",
        "Trainings that began in the selected time, by the trigger.",
        "short",
        (Query(in_the_selected_time("runs_triggered", "reason"), "{{reason}}"),),
        TRAINING,
        kind="numbers",
        width=9,
    ),
    Panel(
        "Score of every training",
        "Score of the latest published version on its test part, and the minimum that the gate demands. Each training is a step.",
        "percentunit",
        (Query(gauge("run_score"), NAME), Query(gauge("minimum_score"), f"{NAME} minimum")),
        TRAINING,
        width=12,
        maximum=1,
    ),
    Panel(
        "Score of the served version",
        "Score of the version that is served, and the minimum that the gate demands.",
        "percentunit",
        (Query(gauge("served_score"), NAME), Query(gauge("minimum_score"), f"{NAME} minimum")),
        SERVING,
        width=12,
        maximum=1,
    ),
    Panel(
        "State",
        "States of each classifier over time, as in the column STATE of kubectl get textclassifiers.",
        "short",
        (Query(f"max by (namespace, classifier, state) (labelwright_classifier_state{{{THESE}}})", f"{NAME} {{{{state}}}}"),),
        PLATFORM,
        kind="states",
        width=12,
    ),
    Panel(
        "Served version",
        "The version that each classifier serves, over time.",
        "short",
        (Query(f"max by (namespace, classifier, version) (labelwright_classifier_info{{{THESE}}})", "{{version}}"),),
        SERVING,
        kind="states",
        width=12,
    ),
    Panel(
        "Problems",
        "Reasons for which classifiers are degraded. RollOutFailed: a version was given up, and the one before is served again.",
        "short",
        (
            Query(
                f"max by (namespace, classifier, reason) (labelwright_classifier_degraded{{{THESE}}})", f"{NAME} {{{{reason}}}}"
            ),
            Query(f"{gauge('rollout_failed')} == 1", f"{NAME} rollout went back"),
        ),
        PLATFORM,
        kind="states",
        width=12,
    ),
    Panel(
        "Versions in a row that failed the gate",
        "0 after a version that passed. See the runbook LabelwrightGateFailing.",
        "short",
        (Query(gauge("gate_failures"), NAME),),
        TRAINING,
        width=12,
    ),
    Panel(
        "Drift of the served version",
        "Population stability index of the classified texts against those of the test part. Above 0.25 they differ much.",
        "short",
        (Query(DRIFT, f"{NAME} {{{{version}}}}"),),
        SERVING,
    ),
    Panel(
        "Corrections since the latest training",
        "Corrections by people that count towards spec.triggers.feedback.",
        "short",
        (Query(gauge("corrections"), NAME),),
        SERVING,
    ),
    Panel(
        "Drift index of the trigger",
        "The value that the controller compares with spec.triggers.drift.",
        "short",
        (Query(gauge("drift_index"), NAME),),
        SERVING,
    ),
)
