"""Retries of a Job's Pods: how often, after which ends of a Pod, and which ends do not count, such as an eviction."""

from __future__ import annotations

from k8s.controller.objects.kinds import Document

TRAINING_RETRIES_PER_NODE = 6
MAINTENANCE_RETRIES = 3
NO_RETRY_EXIT_CODES = (64, 65)  # invalid setting, invalid dataset: another attempt would end the same


def pod_failure_policy_rules() -> list[Document]:
    """Return the ends of a Pod that fail its Job at once, and those that do not count as an attempt, such as a lost node."""
    return [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [*NO_RETRY_EXIT_CODES]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [143]}},
    ]
