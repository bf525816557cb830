"""Parts shared by the components of a World."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from k8s.controller.clients.kubernetes import Document
from tests.support.fakes import timestamp

if TYPE_CHECKING:
    from tests.support.kubernetes.world import World


class Action(NamedTuple):
    """Possible change, with a label for the log."""

    label: str
    do: Callable[[], None]


def condition(world: World, kind: str, status: str, *, reason: str = "", message: str = "") -> Document:
    """Return a condition that changes now."""
    changed = {"type": kind, "status": status, "lastTransitionTime": timestamp(world.clock())}
    return changed | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})


def is_true(document: Document, kind: str) -> bool:
    """Return whether a document has this condition with status True."""
    conditions = document.get("status", {}).get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def with_conditions(document: Document, *conditions: Document) -> list[Document]:
    """Return its conditions, with those of the same type replaced. A time is kept if nothing else changes."""
    old = {each["type"]: each for each in document.get("status", {}).get("conditions", [])}
    for each in conditions:
        before = old.get(each["type"], {})
        same = before.get("status") == each["status"]
        old[each["type"]] = each | ({"lastTransitionTime": before["lastTransitionTime"]} if same else {})
    return list(old.values())


def owned_by(document: Document, owner: Document) -> bool:
    """Return whether the document is deleted with this owner."""
    return any(each["uid"] == owner["metadata"]["uid"] for each in document["metadata"].get("ownerReferences", []))


def owner_of(document: Document) -> Document:
    """Return an owner reference to the document."""
    names = {"apiVersion": document["apiVersion"], "kind": document["kind"], "name": document["metadata"]["name"]}
    return {**names, "uid": document["metadata"]["uid"], "controller": True, "blockOwnerDeletion": True}


def is_going(document: Document) -> bool:
    """Return whether the document is being deleted."""
    return "deletionTimestamp" in document["metadata"]
