"""What a pass may do: each step is safe to repeat, and safe to be the last one before the controller dies."""

from __future__ import annotations

from dataclasses import dataclass

from k8s.controller.objects.kinds import Document, Kind


@dataclass(frozen=True)
class Create:
    """Make it, unless one of its name is there: what it holds cannot be changed later."""

    document: Document


@dataclass(frozen=True)
class Apply:
    """Make it so, and keep it so."""

    document: Document


@dataclass(frozen=True)
class Merge:
    """Change what is there, if it is still as it was read."""

    kind: Kind
    document: Document  # as read
    change: Document


@dataclass(frozen=True)
class Delete:
    """Take away the one that was read; another of its name stays."""

    kind: Kind
    document: Document


Step = Create | Apply | Merge | Delete


@dataclass(frozen=True)
class Plan:
    """The steps in their order, then the status that is written, if it differs from what is there.

    status: none to leave it as it is. requeue_after: seconds until the next pass, if no event comes before; None: only an
    event starts one.
    """

    steps: tuple[Step, ...] = ()
    status: Document | None = None
    requeue_after: float | None = None
