"""Which fields of an object are whose, and what an apply does to them: the part of server-side apply that our documents use.

A path leads to a field; an element of a list that has keys is a part of its path by its key, any other list is one value.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Path = tuple[str, ...]
# Lists whose elements have a name, so that each may be another's; all others are replaced whole.
KEYS = {"ownerReferences": "uid", "secrets": "name", "finalizers": ""}
# What an object is called is nobody's field.
NAMES = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
SERVERS = {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}


@dataclass(frozen=True)
class Owned:
    """Fields that we applied, and fields that someone wrote otherwise (be it us, by create or merge)."""

    ours: frozenset[Path] = frozenset()
    others: frozenset[Path] = frozenset()

    def changed(self, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> Owned:
        """After a write that was no apply: what it changed is no longer ours."""
        altered = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
        there = frozenset(after)
        return Owned(ours=(self.ours - altered) & there, others=(self.others | altered) & there)


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """The values of a document by their paths, without those that are the server's."""
    if isinstance(value, dict) and (value or not path):
        found = {key: leaf for name, each in value.items() for key, leaf in leaves(each, (*path, name)).items()}
    elif _is_keyed(value, path):
        found = {key: leaf for each in value for key, leaf in leaves(each, (*path, _key(each, path))).items()}
    else:
        found = {path: value}
    return {key: leaf for key, leaf in found.items() if not _is_nobodys(key, leaf)}


def _is_nobodys(path: Path, value: Any) -> bool:
    """What the server writes, and what is empty: that is not kept in the metadata."""
    return path in NAMES or (path[0] == "metadata" and (path[1] in SERVERS or value in ({}, [], None)))


def applied(live: Document, wanted: Document, owned: Owned) -> tuple[Document, Owned]:
    """The object after an apply by us with force, and whose its fields are then."""
    fields, before = leaves(wanted), leaves(live) if live else {}
    forced = frozenset(path for path, value in fields.items() if path in before and before[path] != value)
    others = owned.others - forced
    new: Document = _merged(copy.deepcopy(live), wanted, ())
    kept = frozenset(above for path in (*fields, *others) for above in _and_above(path))
    for path in owned.ours - kept:
        _remove(new, path)
    return new, Owned(ours=frozenset(fields), others=others & frozenset(leaves(new)))


def merge_patched(document: Any, change: Any) -> Any:
    """RFC 7396."""
    if not isinstance(change, dict):
        return change
    new = dict(document) if isinstance(document, dict) else {}
    for name, value in change.items():
        if value is None:
            new.pop(name, None)
        else:
            new[name] = merge_patched(new.get(name), value)
    return new


def _and_above(path: Path) -> list[Path]:
    """The path, and those of what it lies in: an empty map that was applied may hold something by now."""
    return [path[:length] for length in range(1, len(path) + 1)]


def _is_keyed(value: Any, path: Path) -> bool:
    return bool(path) and path[-1] in KEYS and isinstance(value, list) and bool(value)


def _key(element: Any, path: Path) -> str:
    return str(element[KEYS[path[-1]]] if KEYS[path[-1]] else element)


def _merged(live: Any, wanted: Any, path: Path) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict):
        return live | {name: _merged(live.get(name), value, (*path, name)) for name, value in wanted.items()}
    if _is_keyed(wanted, path) and isinstance(live, list):
        there = {_key(each, path): each for each in live}
        for each in wanted:
            there[_key(each, path)] = _merged(there.get(_key(each, path)), each, (*path, _key(each, path)))
        return list(there.values())
    return copy.deepcopy(wanted)


def _remove(value: Any, path: Path, above: Path = ()) -> None:
    """Take the field away, and what holds nothing without it."""
    first, rest = path[0], path[1:]
    if isinstance(value, list):
        element = next((each for each in value if _key(each, above) == first), None)
        if element is not None and (not rest or rest == (KEYS[above[-1]],)):
            value.remove(element)
        elif element is not None:
            _remove(element, rest, (*above, first))
    elif first in value:
        if rest:
            _remove(value[first], rest, (*above, first))
        if not rest or value[first] in ({}, []):
            del value[first]
