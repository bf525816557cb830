"""Retries of a Job's Pods: how often, after which ends of a Pod, and which ends do not count, such as an eviction."""

from __future__ import annotations

from k8s.controller.objects.kinds import Document

TRAINING_RETRIES_PER_NODE = 6
MAINTENANCE_RETRIES = 3
NO_RETRY_EXIT_CODES = (64, 65)  # a setting is wrong; the dataset is wrong: another attempt ends the same


def pod_failure_policy_rules() -> list[Document]:
    """Return which ends of a Pod fail its Job at once, and which do not count as an attempt, such as the loss of its node."""
    return [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [*NO_RETRY_EXIT_CODES]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [143]}},
    ]
