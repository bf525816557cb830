"""Limits, set by the controller's operator, on what a TextClassifier or a TrainingRun may use of its namespace."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.api.v1alpha1 import TextClassifierSpec, TrainingRunSpec

Spec = TextClassifierSpec | TrainingRunSpec


@dataclass(frozen=True)
class Policy:
    """Limits. secrets, service_accounts: allowed names, or prefixes with a * at the end; None: any. placement: whether specs may
    choose nodes.
    """

    secrets: tuple[str, ...] | None = None
    service_accounts: tuple[str, ...] | None = None
    placement: bool = True

    def refuses(self, spec: Spec) -> str | None:
        """Return a message about fields that are not allowed, with their values and the allowed ones; None: all are allowed."""
        return "; ".join([*self._names(spec), *self._places(spec)]) or None

    def _names(self, spec: Spec) -> list[str]:
        storage = spec.storage
        serving = spec.serving if isinstance(spec, TextClassifierSpec) else None
        asked = (
            ("storage.secretName", storage.secret_name if storage else None, self.secrets),
            ("serving.secretName", serving.secret_name if serving else None, self.secrets),
            ("storage.serviceAccountName", storage.service_account_name if storage else None, self.service_accounts),
        )
        return [
            f"spec.{field} is {name!r}: expected {_listed(allowed)}, as the controller's settings allow"
            for field, name, allowed in asked
            if name is not None and allowed is not None and not any(_matches(name, each) for each in allowed)
        ]

    def _places(self, spec: Spec) -> list[str]:
        if self.placement:
            return []
        parts = {"training": spec.training, "serving": spec.serving if isinstance(spec, TextClassifierSpec) else None}
        return [
            f"spec.{part}.{field} is set: expected none, as the controller's settings do not allow placement"
            for part, given in parts.items()
            for field, value in (("nodeSelector", given and given.node_selector), ("tolerations", given and given.tolerations))
            if value
        ]


def _matches(name: str, allowed: str) -> bool:
    return name.startswith(allowed[:-1]) if allowed.endswith("*") else name == allowed


def _listed(allowed: tuple[str, ...]) -> str:
    return f"one of {', '.join(allowed)}" if allowed else "none"
