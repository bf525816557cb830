"""Server-side apply: owners of an object's fields, and the effect of an apply, as far as our documents need it.

A path leads to a field. In a list with keys, an element's key is a part of the path; any other list is one value.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Path = tuple[str, ...]
# Lists with keys, whose elements may have different owners; all other lists are replaced as a whole.
KEYS = {"ownerReferences": "uid", "secrets": "name", "finalizers": ""}
# Fields without an owner.
NAMES = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
SERVERS = {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}


@dataclass(frozen=True)
class Owned:
    """Fields that we applied, and fields that were written otherwise (by others, or by our create or merge)."""

    ours: frozenset[Path] = frozenset()
    others: frozenset[Path] = frozenset()

    def changed(self, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> Owned:
        """Return the owners after a write that was no apply: the changed fields are no longer ours."""
        altered = frozenset(path for path, value in after.items() if path not in before or before[path] != value)
        there = frozenset(after)
        return Owned(ours=(self.ours - altered) & there, others=(self.others | altered) & there)


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Return the values of a document by path, without those of the server."""
    if isinstance(value, dict) and (value or not path):
        by_path = {key: leaf for name, each in value.items() for key, leaf in leaves(each, (*path, name)).items()}
    elif _is_keyed(value, path):
        by_path = {key: leaf for each in value for key, leaf in leaves(each, (*path, _key(each, path))).items()}
    else:
        by_path = {path: value}
    return {key: leaf for key, leaf in by_path.items() if not _has_no_owner(key, leaf)}


def _has_no_owner(path: Path, value: Any) -> bool:
    """Return whether a field is the server's, or an empty one of the metadata, which is not kept."""
    return path in NAMES or (path[0] == "metadata" and (path[1] in SERVERS or value in ({}, [], None)))


def applied(live: Document, wanted: Document, owned: Owned) -> tuple[Document, Owned]:
    """Return the object after an apply by us with force, and the owners of its fields."""
    fields, before = leaves(wanted), leaves(live) if live else {}
    forced = frozenset(path for path, value in fields.items() if path in before and before[path] != value)
    others = owned.others - forced
    new: Document = _merged(copy.deepcopy(live), wanted, ())
    kept = frozenset(above for path in (*fields, *others) for above in _and_above(path))
    for path in owned.ours - kept:
        _remove(new, path)
    return new, Owned(ours=frozenset(fields), others=others & frozenset(leaves(new)))


def merge_patched(document: Any, change: Any) -> Any:
    """Return the document after a JSON merge patch (RFC 7396)."""
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
    """Return the path and its parents, since an applied empty map may have fields of others by now."""
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
    """Remove the field, and its parents if they become empty."""
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
