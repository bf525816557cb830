"""Steps of a reconciliation. Each is safe to repeat, and safe as the last one before the controller ends."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.objects.kinds import Document, Kind


@dataclass(frozen=True)
class Create:
    """Create the object, unless one of its name exists. For objects that cannot be changed later."""

    document: Document


@dataclass(frozen=True)
class Apply:
    """Apply the object (server-side apply)."""

    document: Document


@dataclass(frozen=True)
class Merge:
    """Change the object, if it has not changed since it was read."""

    kind: Kind
    document: Document  # as read
    change: Document


@dataclass(frozen=True)
class Delete:
    """Delete the object that was read. Another one of its name stays."""

    kind: Kind
    document: Document


Step = Create | Apply | Merge | Delete


@dataclass(frozen=True)
class Plan:
    """Steps in order, then the status, which is written if it differs from the present one.

    status: None to leave it as it is. requeue_after: seconds until the next reconciliation; None: only an event starts one.
    """

    steps: tuple[Step, ...] = ()
    status: Document | None = None
    requeue_after: float | None = None
